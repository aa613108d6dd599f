"""Read a folder of image files with captions: in a .txt or .json file beside each image, or in a table."""

import errno
import os
import stat
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

from cloob.common.accounting import RejectedError
from cloob.common.errors import InputError
from cloob.common.text import has_control_characters
from cloob.download.corpora.table_rows import Row, rows_of_table
from cloob.shards.captioned_image import IMAGE_SUFFIXES, as_utf8, input_sample, is_safe, read_caption
from cloob.shards.from_webdataset import print_names
from cloob.shards.local_sources import DEFAULT_FILE_COLUMNS
from cloob.shards.source import ByteRange, InputSample, PackSource
from cloob.shards.webdataset_tars import walk_files

_SAMPLES_PER_CHUNK = 1000
_MAX_NAMES_LISTED = 1000
_TEXT_SUFFIXES = ("txt", "json")


@dataclass(frozen=True)
class _FileChunk:
    """Samples of files with the same path up to the suffix, each as relative paths."""

    root: Path
    number: int
    groups: tuple[tuple[str, ...], ...]
    max_bytes: int

    @property
    def fingerprint(self) -> str:
        return _fingerprint(self.root, [name for group in self.groups for name in group])

    def samples(self, scratch_file: Path) -> list[InputSample]:
        """A sample per image, and one per .txt without an image."""
        samples: list[InputSample] = []
        for group in self.groups:
            files = {_suffix(name): name for name in group if _suffix(name) in _TEXT_SUFFIXES}
            images = [name for name in group if _suffix(name) in IMAGE_SUFFIXES]
            for position, image in enumerate(images or [None]):
                uid = f"{self.number:06d}_{len(samples):06d}"
                try:
                    if position > 0:  # another image has this caption file
                        raise RejectedError("duplicate_key")
                    samples.append(self._sample(uid, image, files))
                except RejectedError as rejection:
                    samples.append(InputSample(uid, "", None, rejected=str(rejection)))
        return samples

    def _sample(self, uid: str, image: str | None, files: dict[str, str]) -> InputSample:
        if image is None:
            raise RejectedError("no_image")
        if not is_safe(image):
            raise RejectedError("unsafe_name")
        content = _whole_file(self.root / image, self.max_bytes)
        txt, record = (
            _whole_file(self.root / files[suffix], self.max_bytes) if suffix in files else None
            for suffix in _TEXT_SUFFIXES
        )
        caption, metadata = read_caption(txt, record)
        if caption is None:
            raise RejectedError("no_caption")
        return input_sample(uid, content, caption, {"file": image}, metadata)


@dataclass(frozen=True)
class _TableChunk:
    """Rows (file name, caption) of a table; None is a malformed one."""

    root: Path
    number: int
    rows: tuple[Row, ...]
    max_bytes: int

    @property
    def fingerprint(self) -> str:
        names = [self._relative(os.fsdecode(row[0])) for row in self.rows if row is not None]
        fingerprint = _fingerprint(self.root, [name for name in names if name is not None])
        return f"{sha256(repr(self.rows).encode()).hexdigest()} {fingerprint}"

    def samples(self, scratch_file: Path) -> list[InputSample]:
        """A sample per row."""
        samples = []
        for index, row in enumerate(self.rows):
            uid = f"{self.number:06d}_{index:06d}"
            try:
                samples.append(self._sample(uid, row))
            except RejectedError as rejection:
                samples.append(InputSample(uid, "", None, rejected=str(rejection)))
        return samples

    def _sample(self, uid: str, row: Row) -> InputSample:
        if row is None:
            raise RejectedError("malformed_row")
        try:
            name, caption = row[0].decode("utf-8"), row[1].decode("utf-8")
        except UnicodeDecodeError:
            raise RejectedError("not_utf8") from None
        relative = self._relative(name)
        if relative is None or has_control_characters(name):
            raise RejectedError("unsafe_name" if name.strip() else "no_image")
        content = _whole_file(self.root / relative, self.max_bytes)
        return input_sample(uid, content, caption, {"file": relative}, {})

    def _relative(self, name: str) -> str | None:
        """A file name relative to the folder, None if it is outside; an absolute path may be in it."""
        root = os.path.abspath(self.root)  # noqa: PTH100, without resolving links
        path = os.path.normpath(os.path.join(root, name.strip()))  # noqa: PTH118
        folder = f"{root.rstrip('/')}/"
        return path.removeprefix(folder) if path.startswith(folder) else None


def image_folder_source(folder: Path, max_bytes: int) -> PackSource:
    """All images in a folder and its subfolders, captioned by the file of the same name in .txt or .json.

    Links are followed. An image is rejected if it, or its caption file, has more than `max_bytes`, is not a
    regular file, or the caption is missing or not UTF-8. A .txt without an image is rejected, too; other
    files, and hidden ones, are not read. Raises `InputError` if there is no image.
    """
    _check_folder(folder)
    groups: dict[str, list[str]] = {}
    others = []
    for path in walk_files(folder):
        name = os.path.relpath(path, folder)
        if _suffix(name) in (*IMAGE_SUFFIXES, *_TEXT_SUFFIXES) and not _is_hidden(name):
            groups.setdefault(name[: -len(_suffix(name)) - 1], []).append(name)
        else:
            others.append(name)
    captioned = []
    for group in groups.values():
        suffixes = {_suffix(name) for name in group}
        if suffixes == {"json"}:  # such as the statistics that img2dataset writes
            others += group
        else:
            captioned.append(tuple(group))
    if not any(_suffix(name) in IMAGE_SUFFIXES for group in captioned for name in group):
        raise InputError(f"{folder}: contains no image files; for webdataset tars, use --webdataset")
    if others:
        print_names(f"{folder}: {len(others):,} files are not read", sorted(others))
    chunks = [_FileChunk(folder, number, groups, max_bytes) for number, groups in _chunks(captioned)]
    listed = [as_utf8(name) for name in sorted(others)]
    if len(listed) > _MAX_NAMES_LISTED:
        listed[_MAX_NAMES_LISTED:] = [f"… and {len(listed) - _MAX_NAMES_LISTED:,} more"]
    return PackSource(chunks, None, {"files_not_read": listed})


def image_table_source(
    folder: Path,
    table: Path,
    max_bytes: int,
    file_column: str | int = DEFAULT_FILE_COLUMNS["file_column"],
    caption_column: str | int = DEFAULT_FILE_COLUMNS["caption_column"],
) -> PackSource:
    """The images that a TSV, CSV or Parquet table lists, with its captions; a row is a sample.

    File names are relative to the folder. A row is rejected if it is malformed, its image does not exist, is
    outside of the folder, or has more than `max_bytes`. Raises `InputError` for a table without the columns.
    """
    _check_folder(folder)
    remedy = "give the names of the columns in it"
    rows = list(rows_of_table(table, (file_column, caption_column), header_remedy=remedy))
    chunks = [_TableChunk(folder, number, part, max_bytes) for number, part in _chunks(rows)]
    return PackSource(chunks, len(rows), {"captions": as_utf8(table.name)})


def _check_folder(folder: Path) -> None:
    if not folder.is_dir():
        raise InputError(f"{folder}: not a folder; give the folder of the images")


def _chunks(items: Sequence[Any]) -> Iterable[tuple[int, tuple[Any, ...]]]:
    for number, start in enumerate(range(0, len(items), _SAMPLES_PER_CHUNK)):
        yield number, tuple(items[start : start + _SAMPLES_PER_CHUNK])


def _whole_file(path: Path, max_bytes: int) -> ByteRange:
    """The byte range of a file. Raises `RejectedError` with the outcome of an unusable one."""
    try:
        status = path.stat()
    except (FileNotFoundError, NotADirectoryError):  # also a broken link
        raise RejectedError("not_a_file" if path.is_symlink() else "no_image") from None
    except (OSError, ValueError) as error:
        _raise_unless_unsafe_name(error)
        raise RejectedError("unsafe_name") from None
    if not stat.S_ISREG(status.st_mode):
        raise RejectedError("not_a_file")
    if status.st_size > max_bytes:
        raise RejectedError("too_many_bytes")
    return path, 0, status.st_size


def _raise_unless_unsafe_name(error: OSError | ValueError) -> None:
    """Raise any other error than of a zero byte, a name that is too long, or a loop of links."""
    if isinstance(error, OSError) and error.errno not in (errno.ENAMETOOLONG, errno.ELOOP):
        raise error


def _fingerprint(root: Path, names: Iterable[str]) -> str:
    """A hash of the folder and of the names, sizes and modification times of files in it."""
    digest = sha256(os.fsencode(root) + b"\0")
    for name in names:
        try:
            status = (root / name).stat()
            state = f"{status.st_size} {status.st_mtime_ns}"
        except (FileNotFoundError, NotADirectoryError):
            state = "absent"
        except (OSError, ValueError) as error:
            _raise_unless_unsafe_name(error)
            state = "absent"
        digest.update(os.fsencode(name) + f"\0{state}\0".encode())
    return digest.hexdigest()


def _suffix(name: str) -> str:
    return os.path.splitext(name)[1][1:].lower()  # noqa: PTH122, names are relative


def _is_hidden(name: str) -> bool:
    return any(part.startswith(".") for part in Path(name).parts)
