"""Hashes of the content of files: read once, and remembered for as long as none of the files is touched."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from tqdm import tqdm

from cloob.common.errors import InputError
from cloob.common.hashing import sha256_file
from cloob.common.json_files import read_json, write_json
from cloob.evaluate.features.cache import text_sha256

_THREADS, _AT_ONCE = 16, 64  # files are waited for, not computed
_DIGITS = 16  # of the hash of a file: 64 bits tell a million files from a million others


@dataclass(frozen=True)
class Content:
    """A hash of the names and bytes of files, and the first 16 hexadecimal digits of the hash of each."""

    sha256: str
    of_files: tuple[str, ...]


def content_of(paths: Sequence[Path], names: Sequence[str], memory: Path) -> Content:
    """The hashes of files, wherever they are; in the folder `memory` they are kept for the next time.

    They are taken from there where all files have the inode, size and times that they had: whatever writes to
    a file sets its change time, which no program can choose. Raises `InputError` for what cannot be read.
    """
    try:
        stats = [path.stat() for path in paths]
        stamps = [[each.st_ino, each.st_size, each.st_mtime_ns, each.st_ctime_ns] for each in stats]
        remembered = memory / "contents" / f"{text_sha256([list(names), stamps])}.json"
        try:
            found = read_json(remembered)
            files = found["files"]
            if len(files) == _DIGITS * len(paths):
                starts = range(0, len(files), _DIGITS)
                return Content(found["sha256"], tuple(files[start : start + _DIGITS] for start in starts))
        except (InputError, KeyError, TypeError):  # absent or damaged: both are made
            pass
        pieces = [paths[start : start + _AT_ONCE] for start in range(0, len(paths), _AT_ONCE)]
        with ThreadPoolExecutor(_THREADS) as pool:
            hashes = tqdm(pool.map(_hashes, pieces), "hashing", len(pieces), mininterval=1, unit="batch")
            of_files = [each for piece in hashes for each in piece]
    except FileNotFoundError as error:
        raise InputError(f"{error.filename}: {error.strerror}; unpack the test set again") from None
    content = Content(text_sha256([list(names), of_files]), tuple(each[:_DIGITS] for each in of_files))
    write_json(remembered, {"sha256": content.sha256, "files": "".join(content.of_files)})
    return content


def _hashes(paths: Sequence[Path]) -> list[str]:
    return [sha256_file(path) for path in paths]
