"""Webdataset tars of others, read as webdataset 0.2.111 reads them: which files, which members are a sample.

Nothing is extracted: a member's name is read, never followed.
"""

import bz2
import filecmp
import gzip
import lzma
import os
import tarfile
import zlib
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, NamedTuple

from cloob.common.atomic_files import atomic_write
from cloob.common.errors import InputError, io_errors_at, raise_if_io_error
from cloob.common.tar_reader import TarReader, open_tar

_TARS = (".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tbz2", ".tbz", ".tar.xz", ".txz")
_UNREAD = (".tar.zst", ".tar.zstd", ".tzst", ".tar.lz4", ".tar.lz", ".tar.lzma", ".tar.br", ".tar.z")
_APPLE_DOUBLE = "._"  # what a Mac writes beside a file on foreign disks and in tars
_BLOCK = 1 << 20
_LONGEST_NAME = 4096  # of a path on Linux
_NAMED = 10
# A tar of images hardly shrinks; what grows more on decompression is a bomb.
_EXPANSION, _SLACK = 100, 100_000_000
_XZ_MEMORY = 256 << 20  # `xz -9` needs 65 MB; a hostile file asks for 4 GB
_DAMAGE = (tarfile.TarError, OSError, EOFError, ValueError, zlib.error, lzma.LZMAError)


class TarMember(NamedTuple):
    """Where the content of a member is in its tar (bytes)."""

    offset: int
    size: int
    sparse: bool


@dataclass(frozen=True)
class TarSample:
    """Consecutive members of one key: name up to the first dot of its last part."""

    key: str
    members: list[tuple[str, TarMember]] = field(default_factory=list)  # with its suffix in lower case
    linked: bool = False  # a link, device or the like has this key, too, which webdataset skips


def find_tars(folder: Path) -> tuple[list[Path], list[str]]:
    """All tars in a folder and below it, links followed, by name; and what else is there, in words.

    A file that is found under several names is read once. Raises `InputError` for a tar compressed in a way
    that is not read, a broken link or a folder that cannot be listed.
    """
    tars: list[Path] = []
    others: list[str] = []
    first_name: dict[tuple[int, int], Path] = {}
    for path in _files(folder):
        name = path.name.lower()
        if name.endswith(_UNREAD):
            raise InputError(
                f"{path}: not a compression that is read (gzip, bzip2, xz); decompress it, or move it away"
            )
        if name.startswith(_APPLE_DOUBLE) or not name.endswith(_TARS):
            others.append(str(path.relative_to(folder)))
            continue
        try:
            found = path.stat()
        except FileNotFoundError:
            raise InputError(f"{path}: a link to nothing; restore its target, or remove it") from None
        known = first_name.setdefault((found.st_dev, found.st_ino), path)
        if known != path:
            others.append(f"{path.relative_to(folder)} (the same file as {known.relative_to(folder)})")
        elif path.is_file():
            tars.append(path)
        else:
            others.append(f"{path.relative_to(folder)} (not a file)")
    return sorted(tars), sorted(others)


def _files(folder: Path) -> Iterator[Path]:
    """Every file below a folder; a folder that links lead to again is not entered again."""
    entered: set[tuple[int, int]] = set()
    for at, folders, names in os.walk(folder, onerror=_raise, followlinks=True):
        found = Path(at).stat()
        if (found.st_dev, found.st_ino) in entered:
            folders.clear()
            continue
        entered.add((found.st_dev, found.st_ino))
        folders.sort()
        yield from (Path(at, name) for name in sorted(names))


def _raise(error: OSError) -> None:
    raise error


def decompress_tar(tar: Path, plain: Path) -> Path:
    """The tar itself where it is not compressed; else its content, written to `plain`. Raises `InputError`.

    The compression is detected by content, as in webdataset.
    """
    with io_errors_at(tar), tar.open("rb") as file:
        begin = file.read(10)
    if begin.startswith(b"\x1f\x8b\x08"):
        content = _blocks_of(gzip.open, tar)
    elif begin.startswith(b"BZh") and begin[4:10] == b"1AY&SY":
        content = _blocks_of(bz2.open, tar)
    elif begin.startswith((b"\x5d\x00\x00\x80", b"\xfd7zXZ")):
        content = _blocks_of_xz(tar)
    else:
        return tar
    left = _EXPANSION * tar.stat().st_size + _SLACK
    with atomic_write(plain) as beside, beside.open("wb") as out:
        for block in _or_damaged(content, tar):
            left -= len(block)
            if left < 0:
                raise InputError(
                    f"{tar}: grows more than {_EXPANSION}-fold on decompression and is refused as a bomb; "
                    "decompress it yourself if it is right"
                )
            out.write(block)
    return plain


def _or_damaged(content: Iterator[bytes], tar: Path) -> Iterator[bytes]:
    try:
        yield from content
    except _DAMAGE as error:
        raise_if_io_error(error, tar)
        raise InputError(f"{tar}: damaged ({error}); get it again") from None


def _blocks_of(opener: Callable[..., IO[bytes]], tar: Path) -> Iterator[bytes]:
    with opener(tar, "rb") as content:
        while block := content.read(_BLOCK):
            yield block


def _blocks_of_xz(tar: Path) -> Iterator[bytes]:
    """As `lzma.open`, which knows no limit of memory."""
    decompressor = lzma.LZMADecompressor(memlimit=_XZ_MEMORY)
    with tar.open("rb") as file:
        while True:
            more = file.read(_BLOCK) if decompressor.needs_input or decompressor.eof else b""
            if decompressor.eof:  # of one stream; another may follow, or padding
                rest = (decompressor.unused_data + more).lstrip(b"\0")
                if not rest:
                    if not more:
                        return
                    continue
                decompressor, more = lzma.LZMADecompressor(memlimit=_XZ_MEMORY), rest
            elif decompressor.needs_input and not more:
                raise EOFError("it ends before its end mark")
            yield decompressor.decompress(more, _BLOCK)


def has_uncompressed_copy(tar: Path, plain: Path) -> bool:
    """Whether a decompressed tar is beside its compressed form, byte by byte the same."""
    twins = (tar.with_suffix(""), tar.with_suffix(".tar"))
    return any(twin != tar and twin.is_file() and filecmp.cmp(twin, plain, shallow=False) for twin in twins)


def read_samples(tar: Path) -> tuple[list[TarSample], dict[str, int]]:
    """The samples of an uncompressed tar in their order, and the members that are part of none.

    The latter by name (those after the first few together) with their number. Raises `InputError` where the
    tar is damaged, hostile or has more behind its end mark.
    """
    try:
        with open_tar(tar, encoding="utf-8", errors="surrogateescape") as members:
            found = _grouped(members, tar)
            _check_end(tar, members.offset)
    except (tarfile.TarError, OSError, ValueError) as error:
        raise_if_io_error(error, tar)
        raise InputError(f"{tar}: damaged ({error}); get it again, as a plain tar") from None
    return found


def _grouped(members: TarReader, tar: Path) -> tuple[list[TarSample], dict[str, int]]:
    """As webdataset's `group_by_keys`: what is no file or has no key ends no sample."""
    samples: list[TarSample] = []
    linked: dict[str, None] = {}
    stray: Counter[str] = Counter()
    for member in members:
        if len(member.name) > _LONGEST_NAME:
            raise InputError(
                f"{tar}: a member's name of {len(member.name):,} characters; no file has it: refused"
            )
        parts = key_and_suffix(member.name)
        if member.isdir():
            continue
        if parts is None:
            stray[member.name if len(stray) < _NAMED else "…"] += 1
        elif not member.isreg():
            linked[parts[0]] = None
        else:
            if not samples or samples[-1].key != parts[0]:
                samples.append(TarSample(parts[0]))
            place = TarMember(member.offset_data, member.size, member.issparse())
            samples[-1].members.append((parts[1], place))
    samples = [TarSample(one.key, one.members, one.key in linked) for one in samples]
    keys = {one.key for one in samples}
    return samples + [TarSample(key, linked=True) for key in linked if key not in keys], stray


def key_and_suffix(name: str) -> tuple[str, str] | None:
    """Key and suffix of a member, divided as webdataset does; None where it is part of no sample.

    The same but for AppleDouble files in folders, which webdataset takes for a sample that interrupts others.
    """
    folder, slash, base = name.rpartition("/")
    stem, dot, suffix = base.partition(".")
    first = name.partition("/")[0]
    is_metadata = len(first) >= 4 and first.startswith("__") and first.endswith("__")
    if not dot or is_metadata or base.startswith(_APPLE_DOUBLE):
        return None
    if not stem and (not slash or "." in folder.rpartition("/")[2]):
        return None
    return folder + slash + stem, suffix.lower()


def _check_end(tar: Path, offset: int) -> None:
    """To tarfile a header that it cannot read is the end, and whatever follows the end mark is ignored."""
    with tar.open("rb") as file:
        file.seek(offset)
        if file.read(tarfile.BLOCKSIZE) != bytes(tarfile.BLOCKSIZE):
            raise tarfile.ReadError(f"neither a header nor the end mark at byte {offset:,}")
        while block := file.read(_BLOCK):
            if block.count(0) != len(block):
                raise tarfile.ReadError(f"more behind the end mark at byte {offset:,}: several tars in one?")
