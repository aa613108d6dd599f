"""Content hashes of files, cached until a file changes."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from tqdm import tqdm

from cloob.common.errors import InputError
from cloob.common.hashing import json_sha256, sha256_file
from cloob.common.json_files import read_json, write_json

_THREADS, _FILES_PER_TASK = 16, 64  # I/O-bound
_DIGITS = 16  # per file: 64 bits distinguish a million files from a million others


@dataclass(frozen=True)
class Content:
    """A hash of the names and bytes of all files, and the first 16 hexadecimal digits of each file's hash."""

    sha256: str
    files: tuple[str, ...]


def content_hash(paths: Sequence[Path], names: Sequence[str], cache: Path) -> Content:
    """The hashes of files, independent of their location; cached in the folder `cache`.

    Cached hashes are valid while all files have the same inode, size and times: every write to a file updates
    its change time, which programs cannot set. Raises `InputError` if a file does not exist.
    """
    try:
        stats = [path.stat() for path in paths]
        stamps = [[stat.st_ino, stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns] for stat in stats]
        cached = cache / "contents" / f"{json_sha256([list(names), stamps])}.json"
        if (content := _read_cached(cached, len(paths))) is not None:
            return content
        batches = [paths[start : start + _FILES_PER_TASK] for start in range(0, len(paths), _FILES_PER_TASK)]
        with ThreadPoolExecutor(_THREADS) as pool:
            hashed = tqdm(pool.map(_hashes, batches), "hashing", len(batches), mininterval=1, unit="batch")
            hashes = [digest for batch in hashed for digest in batch]
    except FileNotFoundError as error:
        raise InputError(f"{error.filename}: {error.strerror}; unpack the test set again") from None
    content = Content(json_sha256([list(names), hashes]), tuple(digest[:_DIGITS] for digest in hashes))
    write_json(cached, {"sha256": content.sha256, "files": "".join(content.files)})
    return content


def _read_cached(path: Path, count: int) -> Content | None:
    """The cached hashes of `count` files; None if they are absent or damaged."""
    try:
        stored = read_json(path)
        files = stored["files"]
        if len(files) != _DIGITS * count:
            return None
        starts = range(0, len(files), _DIGITS)
        return Content(stored["sha256"], tuple(files[start : start + _DIGITS] for start in starts))
    except (InputError, KeyError, TypeError):
        return None


def _hashes(paths: Sequence[Path]) -> list[str]:
    return [sha256_file(path) for path in paths]
