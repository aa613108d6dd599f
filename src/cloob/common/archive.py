"""Archives from strangers, unpacked: plain files and folders below one folder, and never more than a cap."""

import lzma
import os
import stat
import tarfile
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import IO, Any

from tqdm import tqdm

from cloob.common.directories import remove_tree
from cloob.common.errors import InputError, io_errors_at, raise_if_io_error
from cloob.common.tar_reader import open_tar

_BLOCK = 1 << 20
_MAX_MEMBERS = 2_000_000  # files and folders; ImageNet has 1.4 million images
_MAX_DEPTH, _LONGEST = 12, 255  # folders below one another; bytes of a name, as file systems have it
_SHOWN = 80
_DIRECTORY_ENTRY = b"PK\x01\x02"
_DAMAGE = (tarfile.TarError, zipfile.BadZipFile, zlib.error, lzma.LZMAError, EOFError, OSError, RuntimeError)


def is_archive(path: Path) -> bool:
    """Whether a file is a zip or a tar (plain or compressed), by its content."""
    if zipfile.is_zipfile(path):
        return True
    try:
        with open_tar(path, compressed=True):
            return True
    except InputError:  # one that `unpack` refuses
        return True
    except _DAMAGE as error:
        raise_if_io_error(error, path)
        return False


def extract_archive(archive: Path, folder: Path, max_bytes: int) -> None:
    """Unpack a zip or a tar (plain, gzip, bzip2 or xz) into `folder`, which must not exist.

    Raises `InputError`, and leaves no `folder`, where the archive is damaged, is larger than
    `max_bytes` unpacked, or holds what data does not need: paths that lead out of the folder, links,
    devices, encrypted members, a name twice.
    """
    folder.mkdir(parents=True)
    try:
        members = _zip_members(archive) if zipfile.is_zipfile(archive) else _tar_members(archive)
        _write(members, archive, folder, max_bytes)
    except BaseException as error:
        remove_tree(folder)
        if isinstance(error, _DAMAGE):
            raise_if_io_error(error, archive)
            reason = str(error).splitlines()[0].rstrip(":") if str(error) else type(error).__name__
            raise InputError(f"{archive}: cannot be unpacked ({reason}); fetch it again") from None
        raise


def _write(
    members: Iterator[tuple[str, IO[bytes] | None]], archive: Path, folder: Path, max_bytes: int
) -> None:
    """Write the members; a member without content is a folder."""
    written, made = 0, _Folders(archive, folder)
    with tqdm(desc=f"unpacking {archive.name}", unit="B", unit_scale=True) as bar:
        for name, content in members:
            path = _safe(name, archive)
            if content is None:
                made.add(path)
                continue
            made.add(path.parent)
            made.count()
            try:
                file = (folder / path).open("xb")
            except (FileExistsError, IsADirectoryError):
                raise InputError(f"{archive}: {name!r} is in it twice; it is refused") from None
            with file:
                while block := content.read(_BLOCK):
                    written += len(block)
                    if written > max_bytes:
                        raise InputError(
                            f"{archive}: more than {max_bytes:,} bytes unpacked; it is refused as a "
                            "bomb: raise max_bytes if it is right"
                        )
                    with io_errors_at(folder / path):
                        file.write(block)
                    bar.update(len(block))
                with io_errors_at(folder / path):
                    file.flush()


class _Folders:
    """Makes the folders of an archive, and counts all that is made of it."""

    def __init__(self, archive: Path, root: Path) -> None:
        self._archive, self._root = archive, root
        self._made = {PurePosixPath(".")}
        self._count = 0

    def add(self, path: PurePosixPath) -> None:
        """Make a folder and those around it."""
        for each in (*reversed(path.parents), path):
            if each not in self._made:
                self.count()
                self._made.add(each)
                try:
                    (self._root / each).mkdir()
                except FileExistsError:
                    name = str(each)
                    raise InputError(f"{self._archive}: {name!r} is in it twice; it is refused") from None

    def count(self) -> None:
        """One more is about to be made. Raises `InputError` where they are too many."""
        self._count += 1
        if self._count > _MAX_MEMBERS:
            raise _too_many(self._archive)


def _too_many(archive: Path) -> InputError:
    return InputError(f"{archive}: more than {_MAX_MEMBERS:,} members; this is no test set")


def _safe(name: str, archive: Path) -> PurePosixPath:
    path = PurePosixPath(name)
    if path.is_absolute() or ".." in path.parts or set("\\\0:") & set(name) or not path.parts:
        raise InputError(f"{archive}: the path {name[:_SHOWN]!r} in it leads elsewhere; it is refused")
    if len(path.parts) > _MAX_DEPTH or any(len(os.fsencode(each)) > _LONGEST for each in path.parts):
        raise InputError(
            f"{archive}: the path {name[:_SHOWN]!r}… in it is too long; it is refused: at most "
            f"{_MAX_DEPTH} folders, names of at most {_LONGEST} bytes"
        )
    return path


def _zip_members(archive: Path) -> Iterator[tuple[str, IO[bytes] | None]]:
    with archive.open("rb") as raw, zipfile.ZipFile(_Directory(raw, archive)) as opened:  # type: ignore[arg-type]
        for member in opened.infolist():
            kind = stat.S_IFMT(member.external_attr >> 16)
            if member.is_dir():
                yield member.filename, None
            elif kind not in (0, stat.S_IFREG):  # 0: made on a system without kinds
                raise InputError(f"{archive}: {member.filename!r} in it is a link or a device; it is refused")
            else:
                with opened.open(member) as content:
                    yield member.filename, content


class _Directory:
    """A zip file whose directory, which zipfile reads at once, has not too many members."""

    def __init__(self, stream: Any, archive: Path) -> None:
        self._stream, self._archive = stream, archive

    def read(self, size: int = -1) -> bytes:
        content = self._stream.read(size)
        if size > _BLOCK and content.count(_DIRECTORY_ENTRY) > _MAX_MEMBERS:
            raise _too_many(self._archive)
        return content

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


def _tar_members(archive: Path) -> Iterator[tuple[str, IO[bytes] | None]]:
    with open_tar(archive, compressed=True) as opened:
        for member in opened:
            if member.isdir():
                if PurePosixPath(member.name).parts:  # "./" is the folder itself
                    yield member.name, None
            elif not member.isfile():
                raise InputError(f"{archive}: {member.name!r} in it is a link or a device; it is refused")
            elif member.issparse():
                raise InputError(f"{archive}: {member.name!r} in it has holes; it is refused")
            else:
                yield member.name, opened.content(member)
