"""Archives from strangers, unpacked: plain files and folders below one folder, and never more than a cap."""

import lzma
import shutil
import stat
import tarfile
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import IO

from tqdm import tqdm

from cloob.errors import InputError, raise_if_io

_BLOCK = 1 << 20
_MAXIMUM_MEMBERS = 2_000_000  # ImageNet has 1.4 million images
_DAMAGE = (tarfile.TarError, zipfile.BadZipFile, zlib.error, lzma.LZMAError, EOFError, OSError, RuntimeError)


def is_archive(path: Path) -> bool:
    """Whether a file is a zip or a tar (plain or compressed), by its content."""
    return zipfile.is_zipfile(path) or tarfile.is_tarfile(path)


def unpack(archive: Path, folder: Path, maximum_bytes: int) -> None:
    """Unpack a zip or a tar (plain, gzip, bzip2 or xz) into `folder`, which must not exist.

    Raises `InputError`, and leaves no `folder`, where the archive is damaged, is larger than
    `maximum_bytes` unpacked, or holds what data does not need: paths that lead out of the folder, links,
    devices, encrypted members, a name twice.
    """
    folder.mkdir(parents=True)
    try:
        members = _zip_members(archive) if zipfile.is_zipfile(archive) else _tar_members(archive)
        _write(members, archive, folder, maximum_bytes)
    except BaseException as error:
        shutil.rmtree(folder)
        if isinstance(error, _DAMAGE):
            raise_if_io(error, archive)
            reason = str(error).splitlines()[0].rstrip(":") if str(error) else type(error).__name__
            raise InputError(f"{archive}: cannot be unpacked ({reason}); fetch it again") from None
        raise


def _write(
    members: Iterator[tuple[str, IO[bytes] | None]], archive: Path, folder: Path, maximum_bytes: int
) -> None:
    """Write the members; a member without content is a folder."""
    written = 0
    with tqdm(desc=f"unpacking {archive.name}", unit="B", unit_scale=True) as bar:
        for number, (name, content) in enumerate(members, start=1):
            if number > _MAXIMUM_MEMBERS:
                raise InputError(f"{archive}: more than {_MAXIMUM_MEMBERS:,} members; this is no test set")
            path = folder / _safe(name, archive)
            if content is None:
                path.mkdir(parents=True, exist_ok=True)
                continue
            path.parent.mkdir(parents=True, exist_ok=True)
            try:
                file = path.open("xb")
            except FileExistsError:
                raise InputError(f"{archive}: {name!r} is in it twice; it is refused") from None
            with file:
                while block := content.read(_BLOCK):
                    written += len(block)
                    if written > maximum_bytes:
                        raise InputError(
                            f"{archive}: more than {maximum_bytes:,} bytes unpacked; it is refused as a "
                            "bomb: raise maximum_bytes if it is right"
                        )
                    file.write(block)
                    bar.update(len(block))


def _safe(name: str, archive: Path) -> PurePosixPath:
    path = PurePosixPath(name)
    if path.is_absolute() or ".." in path.parts or set("\\\0:") & set(name) or not path.parts:
        raise InputError(f"{archive}: the path {name!r} in it leads elsewhere; it is refused")
    return path


def _zip_members(archive: Path) -> Iterator[tuple[str, IO[bytes] | None]]:
    with zipfile.ZipFile(archive) as opened:
        for member in opened.infolist():
            kind = stat.S_IFMT(member.external_attr >> 16)
            if member.is_dir():
                yield member.filename, None
            elif kind not in (0, stat.S_IFREG):  # 0: made on a system without kinds
                raise InputError(f"{archive}: {member.filename!r} in it is a link or a device; it is refused")
            else:
                with opened.open(member) as content:
                    yield member.filename, content


def _tar_members(archive: Path) -> Iterator[tuple[str, IO[bytes] | None]]:
    with tarfile.open(archive) as opened:
        for member in opened:
            if member.isdir():
                if PurePosixPath(member.name).parts:  # "./" is the folder itself
                    yield member.name, None
            elif not member.isfile():
                raise InputError(f"{archive}: {member.name!r} in it is a link or a device; it is refused")
            else:
                content = opened.extractfile(member)
                assert content is not None  # as for every plain file
                yield member.name, content
