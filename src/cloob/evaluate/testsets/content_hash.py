"""Content hashes of files, cached until a file changes."""

import json
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from hashlib import file_digest, sha256
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from cloob.common.errors import InputError, io_errors_at
from cloob.common.json_files import read_json, write_json

_THREADS = 16  # I/O-bound
_FILES_PER_TASK = 256
_DIGITS = 16  # per file: 64 bits distinguish a million files from a million others
_ROWS_PER_CHUNK = 10_000
_MASK = (1 << 64) - 1


@dataclass(frozen=True)
class Content:
    """A hash of the names and bytes of N files, and the first 64 bits of each file's hash (N,), uint64."""

    sha256: str
    files: NDArray[np.uint64]


def content_hash(paths: Sequence[str], names: Sequence[str], cache: Path) -> Content:
    """The hashes of files, independent of their location; cached in the folder `cache`.

    Cached hashes are valid while all files have the same inode, size and times: every write to a file updates
    its change time, which programs cannot set. Each file's status is read once, by threads, because a shared
    file system takes a millisecond per file. Raises `InputError` if a file does not exist.
    """
    try:
        cached = cache / "contents" / f"{_status_sha256(paths, names)}.json"
        if (content := _read_cached(cached, len(paths))) is not None:
            return content
        digests = np.empty((len(paths), sha256().digest_size), dtype=np.uint8)
        _fill(digests, paths, _digest, "hashing")
    except FileNotFoundError as error:
        raise InputError(f"{error.filename}: {error.strerror}; unpack the test set again") from None
    hexadecimal = ([row.tobytes().hex() for row in rows] for rows in _chunks(digests))
    files = digests[:, : _DIGITS // 2].tobytes()
    content = Content(_lists_sha256(_chunks(names), hexadecimal), _to_integers(files))
    write_json(cached, {"sha256": content.sha256, "files": files.hex()})
    return content


def check_unchanged(paths: Sequence[str], names: Sequence[str], cache: Path, before: str) -> None:
    """Raise `InputError` if files no longer have the hash `before`, under which results would be cached."""
    if content_hash(paths, names, cache).sha256 != before:
        raise InputError(
            f"{os.path.commonpath(paths) or '.'}: files were changed while they were evaluated; run again "
            "when nothing writes there"
        )


def _status_sha256(paths: Sequence[str], names: Sequence[str]) -> str:
    """A hash of the names, inodes, sizes and times of files."""
    status = np.empty((len(paths), 4), dtype=np.uint64)
    _fill(status, paths, _status)
    return _lists_sha256(_chunks(names), (rows.tolist() for rows in _chunks(status)))


def _status(path: str) -> list[int]:
    status = os.stat(path)  # noqa: PTH116, a million Path objects would take most of the time and memory
    # Modulo 2⁶⁴: times before 1970 are negative, inode numbers may exceed 63 bits.
    return [
        value & _MASK for value in (status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns)
    ]


def _digest(path: str) -> NDArray[np.uint8]:
    with io_errors_at(path), open(path, "rb") as file:  # noqa: PTH123
        return np.frombuffer(file_digest(file, "sha256").digest(), dtype=np.uint8)


def _fill(
    table: NDArray[Any], paths: Sequence[str], row: Callable[[str], Any], description: str | None = None
) -> None:
    """Set each row of `table` to `row(path)`, in threads; with a progress bar if there is a `description`."""

    def fill(start: int) -> int:
        batch = [row(path) for path in paths[start : start + _FILES_PER_TASK]]
        table[start : start + len(batch)] = batch
        return len(batch)

    bar = tqdm(total=len(paths), desc=description, unit=" files", mininterval=1, disable=description is None)
    with bar, ThreadPoolExecutor(_THREADS) as pool:
        for files in pool.map(fill, range(0, len(paths), _FILES_PER_TASK)):
            bar.update(files)


def _lists_sha256(*lists: Iterable[Sequence[Any]]) -> str:
    """`json_sha256` of a list of lists, each given in chunks: their JSON text is never in memory."""
    digest = sha256(b"[")
    for number, chunks in enumerate(lists):
        digest.update(b", [" if number else b"[")
        for position, chunk in enumerate(chunks):
            digest.update((", " if position else "").encode() + json.dumps(chunk)[1:-1].encode())
        digest.update(b"]")
    digest.update(b"]")
    return digest.hexdigest()


def _chunks(rows: Any) -> Iterator[Any]:
    """Slices of a list or array."""
    return (rows[start : start + _ROWS_PER_CHUNK] for start in range(0, len(rows), _ROWS_PER_CHUNK))


def _to_integers(files: bytes) -> NDArray[np.uint64]:
    return np.frombuffer(files, dtype=">u8").astype(np.uint64)


def _read_cached(path: Path, count: int) -> Content | None:
    """The cached hashes of `count` files; None if they are absent or damaged."""
    try:
        stored = read_json(path)
        files = _to_integers(bytes.fromhex(stored["files"]))
        return Content(stored["sha256"], files) if len(files) == count else None
    except (InputError, KeyError, TypeError, ValueError):
        return None
