"""Download a folder in CLIP_benchmark's webdataset layout, file by file: resumed, limited and verified."""

import os
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from cloob.common.atomic_files import atomic_write
from cloob.common.directories import remove_tree
from cloob.common.errors import InputError
from cloob.common.http_file import MissingFileError, OversizedFileError, RemoteFile, download_file
from cloob.evaluate.webdataset.folder import (
    CLASS_NAMES,
    DATASET_TYPE,
    MAX_TEXT_FILE_BYTES,
    NUM_SHARDS,
    TEMPLATES,
    DamagedFileError,
    num_shards,
)

# https://huggingface.co/datasets/OWNER/NAME/tree/REVISION shows the files in a browser.
_HUB_FOLDER = re.compile(r"(?P<repository>https?://[^/]+/datasets/[^/]+/[^/]+)/(tree|resolve)/(?P<path>.+)")
_POINTER = re.compile(r"version https://git-lfs[^\n]*\n(.*\n)*?oid (?P<checksum>sha256:[0-9a-f]{64})\n")
_MAX_POINTER_BYTES = 1_000
_URL_FILE = ".url"  # in the folder: the URL that its files are downloaded from


@dataclass(frozen=True)
class RemoteFolder:
    """The base URL of a folder, and the maximum size of all its files together."""

    url: str
    max_bytes: int

    def files_url(self) -> str:
        """The URL below which the files are downloaded: on the Hugging Face Hub `resolve` for `tree`."""
        hub = _HUB_FOLDER.fullmatch(self.url.rstrip("/"))
        return f"{hub['repository']}/resolve/{hub['path']}" if hub else self.url.rstrip("/")

    def pointers_url(self) -> str | None:
        """The URL below which the Hub has the git-lfs pointers, which contain the checksums of the tars."""
        hub = _HUB_FOLDER.fullmatch(self.url.rstrip("/"))
        return f"{hub['repository']}/raw/{hub['path']}" if hub else None


def download_webdataset(remote: RemoteFolder, splits: Sequence[str], folder: Path) -> Path:
    """Download the text files and the tars of `splits` into `folder`, and return it.

    Complete files are kept and partial ones resumed, unless the folder is that of another URL: then its
    content is deleted first. Raises `InputError` as `download_file` does, if a split has no `nshards.txt`,
    and if the folder has files of unknown origin.
    """
    _start(remote, folder)
    for name in (DATASET_TYPE, CLASS_NAMES, TEMPLATES):
        with suppress(MissingFileError):
            _download(remote, folder, name, MAX_TEXT_FILE_BYTES)
    for split in splits:
        try:
            _download(remote, folder, f"{split}/{NUM_SHARDS}", MAX_TEXT_FILE_BYTES)
        except MissingFileError as error:
            raise InputError(
                f"{error}: without {NUM_SHARDS}, this is not the base URL of a folder in CLIP_benchmark's "
                f"webdataset layout with a split {split!r}; correct the URL"
            ) from None
        with download_remedy():
            count = num_shards(folder / split / NUM_SHARDS)
        for number in range(count):
            _download(remote, folder, f"{split}/{number}.tar", remote.max_bytes)
    return folder


@contextmanager
def download_remedy() -> Iterator[None]:
    """Add to the error of a damaged file of a downloaded folder how to download it again."""
    try:
        yield
    except DamagedFileError as error:
        raise InputError(f"{error}; delete it and run again to repeat its download") from None


def _start(remote: RemoteFolder, folder: Path) -> None:
    """Record the URL of the folder's files, after deleting those of another URL."""
    record, url = folder / _URL_FILE, os.fsencode(remote.files_url())
    if record.exists():
        if record.read_bytes() == url:
            return
        print(f"{folder}: deleted its files, which are not from {remote.url}", flush=True)
        for path in folder.iterdir():
            if path != record:
                remove_tree(path)
    elif next(_complete_files(folder), None):
        raise InputError(
            f"{folder}: has files, but no record of the URL that they are from; delete the folder and run "
            "again, or give an empty one"
        )
    with atomic_write(record) as temporary:
        temporary.write_bytes(url)


def _complete_files(folder: Path) -> Iterator[Path]:
    return (file for file in folder.rglob("*") if file.is_file() and not file.name.startswith("."))


def _download(remote: RemoteFolder, folder: Path, name: str, max_bytes: int) -> None:
    path = folder / name
    if path.exists():
        return
    used = sum(file.stat().st_size for file in _complete_files(folder))
    limit = min(max_bytes, remote.max_bytes - used)
    if limit < 1:
        raise InputError(
            f"{remote.url}: more than the allowed {remote.max_bytes:,} bytes in all; if the files are right, "
            "raise max_bytes"
        )
    checksum = _checksum(remote, folder, name) if name.endswith(".tar") else None
    download_file(RemoteFile(f"{remote.files_url()}/{name}", limit, checksum), path)


def _checksum(remote: RemoteFolder, folder: Path, name: str) -> str | None:
    """The SHA-256 of a file on the Hub, from its git-lfs pointer; None if it has none.

    Raises `InputError` if the server does not say whether it has one.
    """
    if (url := remote.pointers_url()) is None:
        return None
    path = folder / f".{name.replace('/', '_')}.pointer"
    try:
        download_file(RemoteFile(f"{url}/{name}", _MAX_POINTER_BYTES), path, print_checksum=False)
        pointer = _POINTER.match(path.read_text(encoding="utf-8", errors="replace"))
    except (MissingFileError, OversizedFileError):  # such as a tar that is not in git-lfs
        return None
    finally:
        path.unlink(missing_ok=True)
    return pointer["checksum"] if pointer else None
