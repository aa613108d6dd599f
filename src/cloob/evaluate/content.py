"""What files hold, as one hash: read once, and remembered for as long as none of them is touched."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from tqdm import tqdm

from cloob.errors import InputError
from cloob.evaluate.feature_cache import text_sha256
from cloob.files import read_json, sha256_of, write_json

_THREADS, _AT_ONCE = 16, 64  # files are waited for, not computed


def content_sha256(paths: Sequence[Path], names: Sequence[str], memory: Path) -> str:
    """A hash of names and bytes, wherever the files lie; in the folder `memory` it stays for the next time.

    It is taken from there where all files have the inode, size and times that they had: whatever writes to a
    file sets its change time, which no program can choose. Raises `InputError` for what cannot be read.
    """
    try:
        stats = [path.stat() for path in paths]
        stamps = [[each.st_ino, each.st_size, each.st_mtime_ns, each.st_ctime_ns] for each in stats]
        remembered = memory / "contents" / f"{text_sha256([list(names), stamps])}.json"
        try:
            return read_json(remembered)["sha256"]
        except (InputError, KeyError, TypeError):  # absent or damaged: both are made
            pass
        pieces = [paths[start : start + _AT_ONCE] for start in range(0, len(paths), _AT_ONCE)]
        with ThreadPoolExecutor(_THREADS) as pool:
            hashes = tqdm(pool.map(_hashes, pieces), "hashing", len(pieces), mininterval=1, unit="batch")
            content = text_sha256([list(names), [each for piece in hashes for each in piece]])
    except FileNotFoundError as error:
        raise InputError(f"{error.filename}: {error.strerror}; unpack the test set again") from None
    write_json(remembered, {"sha256": content})
    return content


def _hashes(paths: Sequence[Path]) -> list[str]:
    return [sha256_of(path) for path in paths]
