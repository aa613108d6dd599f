"""Extract untrusted archives: only regular files and directories, below one directory, up to size limits.

`tarfile.data_filter` does not replace these checks: it strips the leading slash of absolute paths and permits
links within the archive, which are rejected here; it limits neither bytes nor members nor headers; and zip
files need the same path checks.
"""

import lzma
import os
import stat
import struct
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

_BLOCK_BYTES = 1 << 20
_MAX_MEMBERS = 2_000_000  # files and directories; ImageNet has 1.4 million images
_MAX_DEPTH = 12  # nested directories
_MAX_NAME_BYTES = 255  # the limit of common file systems
_MAX_SHOWN = 80  # characters of a member name in an error message
_ZIP_DIRECTORY_ENTRY = b"PK\x01\x02"
# The last four by zipfile, for names that are not UTF-8, empty names, and impossible numbers.
_DAMAGE_ERRORS = (
    tarfile.TarError,
    zipfile.BadZipFile,
    zlib.error,
    lzma.LZMAError,
    EOFError,
    OSError,
    RuntimeError,
    ValueError,
    LookupError,
    OverflowError,
    struct.error,
)

Members = Iterator[tuple[str, IO[bytes] | None]]  # name and content; None for a directory


def is_archive(path: Path) -> bool:
    """Whether a file is a zip or a tar (plain or compressed), judged by its content."""
    try:
        if zipfile.is_zipfile(path):
            return True
        with open_tar(path, compressed=True):
            return True
    except InputError:  # a hostile tar, which `extract_archive` rejects
        return True
    except _DAMAGE_ERRORS as error:
        raise_if_io_error(error, path)
        return False


def extract_archive(archive: Path, folder: Path, max_bytes: int) -> None:
    """Extract a zip or a tar (plain, gzip, bzip2 or xz) into `folder`, which must not exist.

    Raises `InputError`, and removes `folder`, if the archive is damaged, has more than `max_bytes` of
    content, or contains unsafe paths, links, devices, encrypted members or duplicate names.
    """
    folder.mkdir(parents=True)
    try:
        members = _zip_members(archive) if zipfile.is_zipfile(archive) else _tar_members(archive)
        _write_members(members, archive, folder, max_bytes)
    except BaseException as error:
        remove_tree(folder)
        if isinstance(error, _DAMAGE_ERRORS):
            raise_if_io_error(error, archive)
            reason = str(error).splitlines()[0].rstrip(":") if str(error) else type(error).__name__
            raise InputError(f"{archive}: cannot be extracted ({reason}); download it again") from None
        raise


def _write_members(members: Members, archive: Path, folder: Path, max_bytes: int) -> None:
    written, creator = 0, _DirectoryCreator(archive, folder)
    with tqdm(desc=f"extracting {archive.name}", unit="B", unit_scale=True) as bar:
        for name, content in members:
            path = _safe_path(name, archive)
            if content is None:
                creator.create(path)
                continue
            creator.create(path.parent)
            creator.count_member()
            try:
                file = (folder / path).open("xb")
            except (FileExistsError, IsADirectoryError):
                raise _duplicate_name(archive, name) from None
            with file:
                while block := content.read(_BLOCK_BYTES):
                    written += len(block)
                    if written > max_bytes:
                        raise InputError(
                            f"{archive}: rejected as a decompression bomb: more than {max_bytes:,} bytes; if "
                            "the archive is valid, raise max_bytes"
                        )
                    with io_errors_at(folder / path):
                        file.write(block)
                    bar.update(len(block))
                with io_errors_at(folder / path):
                    file.flush()


class _DirectoryCreator:
    """Creates the directories of an archive, and counts files and directories."""

    def __init__(self, archive: Path, root: Path) -> None:
        self._archive, self._root = archive, root
        self._created = {PurePosixPath(".")}
        self._count = 0

    def create(self, path: PurePosixPath) -> None:
        """Create a directory and its parents."""
        for directory in (*reversed(path.parents), path):
            if directory not in self._created:
                self.count_member()
                self._created.add(directory)
                try:
                    (self._root / directory).mkdir()
                except FileExistsError:
                    raise _duplicate_name(self._archive, str(directory)) from None

    def count_member(self) -> None:
        """Count a file or directory before it is created. Raises `InputError` beyond the limit."""
        self._count += 1
        if self._count > _MAX_MEMBERS:
            raise _too_many_members(self._archive)


def _duplicate_name(archive: Path, name: str) -> InputError:
    return InputError(f"{archive}: rejected, it contains {name!r} twice")


def _too_many_members(archive: Path) -> InputError:
    return InputError(f"{archive}: rejected, more than {_MAX_MEMBERS:,} members")


def _safe_path(name: str, archive: Path) -> PurePosixPath:
    path = PurePosixPath(name)
    if path.is_absolute() or ".." in path.parts or set("\\\0:") & set(name) or not path.parts:
        raise InputError(f"{archive}: rejected, it contains the unsafe path {name[:_MAX_SHOWN]!r}")
    if len(path.parts) > _MAX_DEPTH or any(len(os.fsencode(part)) > _MAX_NAME_BYTES for part in path.parts):
        raise InputError(
            f"{archive}: rejected, the path {name[:_MAX_SHOWN]!r}… is too long; supported are at most "
            f"{_MAX_DEPTH} levels with names of at most {_MAX_NAME_BYTES} bytes"
        )
    return path


def _zip_members(archive: Path) -> Members:
    with archive.open("rb") as raw, zipfile.ZipFile(_LimitedZipStream(raw, archive)) as opened:
        for member in opened.infolist():
            file_type = stat.S_IFMT(member.external_attr >> 16)
            if member.is_dir():
                yield member.filename, None
            elif file_type not in (0, stat.S_IFREG):  # 0: made on a system without file types
                raise _special_file(archive, member.filename)
            else:
                with opened.open(member) as content:
                    yield member.filename, content


def _special_file(archive: Path, name: str) -> InputError:
    return InputError(f"{archive}: rejected, its member {name!r} is a link or a device")


class _LimitedZipStream:
    """The stream of a zip file, which rejects a directory of too many members before zipfile parses it."""

    def __init__(self, stream: Any, archive: Path) -> None:
        self._stream, self._archive = stream, archive

    def read(self, size: int = -1) -> bytes:
        content = self._stream.read(size)
        if size > _BLOCK_BYTES and content.count(_ZIP_DIRECTORY_ENTRY) > _MAX_MEMBERS:
            raise _too_many_members(self._archive)
        return content

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


def _tar_members(archive: Path) -> Members:
    with open_tar(archive, compressed=True) as opened:
        for member in opened:
            if member.isdir():
                if PurePosixPath(member.name).parts:  # "./" is the root itself
                    yield member.name, None
            elif not member.isfile():
                raise _special_file(archive, member.name)
            elif member.issparse():
                raise InputError(f"{archive}: rejected, its member {member.name!r} is a sparse file")
            else:
                yield member.name, opened.content(member)
