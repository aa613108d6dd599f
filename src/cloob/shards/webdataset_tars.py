"""Find and read the tars of existing webdataset shards, with the semantics of webdataset 0.2.111.

Nothing is extracted, so unsafe member names cannot do harm here.
"""

import bz2
import filecmp
import gzip
import lzma
import os
import tarfile
import zlib
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from cloob.common.atomic_files import atomic_write
from cloob.common.errors import InputError, io_errors_at, raise_if_io_error
from cloob.common.tar_reader import TarReader, open_tar

_TAR_SUFFIXES = (".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tbz2", ".tbz", ".tar.xz", ".txz")
_UNSUPPORTED = (".tar.zst", ".tar.zstd", ".tzst", ".tar.lz4", ".tar.lz", ".tar.lzma", ".tar.br", ".tar.z")
_APPLE_DOUBLE = "._"  # metadata files that macOS writes next to a file on foreign disks and in tars
_BLOCK_BYTES = 1 << 20
_MAX_NAME_LENGTH = 4096  # of a path on Linux
_MAX_NAMES = 10
# A tar of images hardly compresses; one that expands more is a decompression bomb.
_MAX_EXPANSION, _EXPANSION_ALLOWANCE = 100, 100_000_000
_XZ_MEMORY_LIMIT = 256 << 20  # bytes; `xz -9` needs 65 MB, a hostile file may demand 4 GB
_DAMAGE_ERRORS = (tarfile.TarError, OSError, EOFError, ValueError, zlib.error, lzma.LZMAError)


class TarMember(NamedTuple):
    """Byte range of a member's content within its tar."""

    offset: int
    size: int
    is_sparse: bool


@dataclass(frozen=True)
class TarSample:
    """Consecutive members with the same key: the member name up to the first dot of its last component."""

    key: str
    members: list[tuple[str, TarMember]] = field(default_factory=list)  # (suffix in lower case, member)
    has_special_member: bool = False  # a link, device or the like has this key too; webdataset skips it


def common_root(folders: Sequence[Path]) -> Path:
    """The deepest folder that contains all `folders`; a single folder is its own root."""
    return Path(os.path.commonpath([folder.absolute() for folder in folders]))


def find_tars(folders: Sequence[Path]) -> tuple[list[Path], list[str]]:
    """All tars in the folders and subfolders, sorted by name per folder; and descriptions of all other files.

    Symbolic links are followed; a file with several names is listed once. Raises `InputError` for a tar with
    an unsupported compression and for a broken link, `OSError` for a folder that cannot be listed.
    """
    root = common_root(folders)
    tars: list[Path] = []
    other_files: list[str] = []
    known_files: dict[tuple[int, int], Path] = {}
    for folder in folders:
        tars_of_folder = []
        for path in walk_files(folder):
            name, relative = path.name.lower(), os.path.relpath(path, root)
            if name.endswith(_UNSUPPORTED):
                raise InputError(
                    f"{path}: unsupported compression (supported: gzip, bzip2, xz); decompress the file, or "
                    "move it to another folder"
                )
            if name.startswith(_APPLE_DOUBLE) or not name.endswith(_TAR_SUFFIXES):
                other_files.append(relative)
                continue
            try:
                status = path.stat()
            except FileNotFoundError:
                raise InputError(f"{path}: broken symbolic link; restore its target, or remove it") from None
            file_id = (status.st_dev, status.st_ino)
            if file_id in known_files:
                known = os.path.relpath(known_files[file_id], root)
                other_files.append(f"{relative} (the same file as {known})")
                continue
            known_files[file_id] = path
            if path.is_file():
                tars_of_folder.append(path)
            else:
                other_files.append(f"{relative} (not a file)")
        tars += sorted(tars_of_folder)
    return tars, sorted(other_files)


def walk_files(folder: Path) -> Iterator[Path]:
    """Every file below a folder; a folder that is reachable by several links is visited once."""
    visited: set[tuple[int, int]] = set()
    for parent, folders, names in os.walk(folder, onerror=_raise, followlinks=True):
        status = Path(parent).stat()
        if (status.st_dev, status.st_ino) in visited:
            folders.clear()
            continue
        visited.add((status.st_dev, status.st_ino))
        folders.sort()
        yield from (Path(parent, name) for name in sorted(names))


def _raise(error: OSError) -> None:
    raise error


def decompress_tar(tar: Path, target: Path) -> Path:
    """Decompress a tar to `target` and return that path; an uncompressed tar is returned itself.

    The compression is detected by content, as webdataset does. Raises `InputError` for damaged files and
    decompression bombs.
    """
    with io_errors_at(tar), tar.open("rb") as file:
        magic = file.read(10)
    if magic.startswith(b"\x1f\x8b\x08"):
        blocks = _read_blocks(gzip.open, tar)
    elif magic.startswith(b"BZh") and magic[4:10] == b"1AY&SY":
        blocks = _read_blocks(bz2.open, tar)
    elif magic.startswith((b"\x5d\x00\x00\x80", b"\xfd7zXZ")):
        blocks = _read_xz_blocks(tar)
    else:
        return tar
    remaining = _MAX_EXPANSION * tar.stat().st_size + _EXPANSION_ALLOWANCE
    with atomic_write(target) as temporary, temporary.open("wb") as out:
        for block in _damage_as_input_error(blocks, tar):
            remaining -= len(block)
            if remaining < 0:
                raise InputError(
                    f"{tar}: rejected as a decompression bomb, it expands more than {_MAX_EXPANSION}-fold; "
                    "if the file is valid, decompress it yourself"
                )
            out.write(block)
    return target


def _damage_as_input_error(blocks: Iterator[bytes], tar: Path) -> Iterator[bytes]:
    try:
        yield from blocks
    except _DAMAGE_ERRORS as error:
        raise_if_io_error(error, tar)
        raise InputError(f"{tar}: damaged ({error}); download it again") from None


def _read_blocks(opener: Callable[..., Any], tar: Path) -> Iterator[bytes]:
    with opener(tar, "rb") as content:
        while block := content.read(_BLOCK_BYTES):
            yield block


def _read_xz_blocks(tar: Path) -> Iterator[bytes]:
    """Like reading from `lzma.open`, which has no memory limit."""
    decompressor = lzma.LZMADecompressor(memlimit=_XZ_MEMORY_LIMIT)
    with tar.open("rb") as file:
        while True:
            block = file.read(_BLOCK_BYTES) if decompressor.needs_input or decompressor.eof else b""
            if decompressor.eof:  # another stream or padding may follow the end of a stream
                rest = (decompressor.unused_data + block).lstrip(b"\0")
                if not rest:
                    if not block:
                        return
                    continue
                decompressor, block = lzma.LZMADecompressor(memlimit=_XZ_MEMORY_LIMIT), rest
            elif decompressor.needs_input and not block:
                raise EOFError("compressed file ended before the end-of-stream marker was reached")
            yield decompressor.decompress(block, _BLOCK_BYTES)


def has_uncompressed_copy(tar: Path, decompressed: Path) -> bool:
    """Whether an identical uncompressed tar is located next to the compressed `tar`."""
    candidates = (tar.with_suffix(""), tar.with_suffix(".tar"))
    return any(
        path != tar and path.is_file() and filecmp.cmp(path, decompressed, shallow=False)
        for path in candidates
    )


def read_samples(tar: Path) -> tuple[list[TarSample], dict[str, int]]:
    """The samples of an uncompressed tar in order, and the members that belong to no sample.

    The latter as counts by name; names after the first few are counted together as "…". Raises `InputError`
    if the tar is damaged or hostile, or contains data after its end-of-archive marker.
    """
    try:
        with open_tar(tar, encoding="utf-8", errors="surrogateescape") as members:
            samples = _group_by_key(members, tar)
            _check_end_of_archive(tar, members.offset)
    except (tarfile.TarError, OSError, ValueError) as error:
        raise_if_io_error(error, tar)
        raise InputError(f"{tar}: damaged ({error}); download it again, as a plain tar") from None
    return samples


def _group_by_key(members: TarReader, tar: Path) -> tuple[list[TarSample], dict[str, int]]:
    """Like webdataset's `group_by_keys`: members that are not files or have no key do not end a sample."""
    samples: list[TarSample] = []
    special_keys: dict[str, None] = {}
    skipped: Counter[str] = Counter()
    for member in members:
        if len(member.name) > _MAX_NAME_LENGTH:
            raise InputError(
                f"{tar}: rejected, a member name has {len(member.name):,} characters, more than any file "
                "system supports"
            )
        if member.isdir():
            continue
        parts = key_and_suffix(member.name)
        if parts is None:
            skipped[member.name if len(skipped) < _MAX_NAMES else "…"] += 1
            continue
        key, suffix = parts
        if not member.isreg():
            special_keys[key] = None
            continue
        if not samples or samples[-1].key != key:
            samples.append(TarSample(key))
        content = TarMember(member.offset_data, member.size, member.issparse())
        samples[-1].members.append((suffix, content))
    samples = [TarSample(sample.key, sample.members, sample.key in special_keys) for sample in samples]
    keys = {sample.key for sample in samples}
    return samples + [
        TarSample(key, has_special_member=True) for key in special_keys if key not in keys
    ], skipped


def key_and_suffix(name: str) -> tuple[str, str] | None:
    """Split a member name into key and suffix as webdataset does; None if it belongs to no sample.

    One difference: AppleDouble files in subfolders, which webdataset treats as a sample that interrupts
    others, belong to no sample.
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


def _check_end_of_archive(tar: Path, offset: int) -> None:
    """Raise `tarfile.ReadError` unless only zeros follow.

    tarfile treats an unreadable header as the end of the archive and ignores data after the marker.
    """
    with tar.open("rb") as file:
        file.seek(offset)
        if file.read(tarfile.BLOCKSIZE) != bytes(tarfile.BLOCKSIZE):
            raise tarfile.ReadError(f"neither a header nor the end-of-archive marker at byte {offset:,}")
        while block := file.read(_BLOCK_BYTES):
            if block.count(0) != len(block):
                raise tarfile.ReadError(
                    f"data after the end-of-archive marker at byte {offset:,}: concatenated tars?"
                )
