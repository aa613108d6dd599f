"""Files that are either whole or absent."""

import errno
import fcntl
import glob
import hashlib
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from cloob.errors import InputError


@contextmanager
def replacing(path: str | Path) -> Iterator[Path]:
    """Yield a path beside `path` to write to; rename it to `path` on success, delete it on failure.

    The temporary name keeps the suffix of `path`, because many writers choose the format by it, and is of one
    process: the number alone is another's too, on another node.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(f".{path.stem}.{os.uname().nodename}.{os.getpid()}{path.suffix}")
    try:
        yield beside
        with beside.open("rb+") as written:
            os.fsync(written.fileno())
        beside.replace(path)
    finally:
        beside.unlink(missing_ok=True)


@contextmanager
def only_one(folder: Path) -> Iterator[None]:
    """Be the only process with this folder until the end of the `with` block; raise `InputError` if not."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "lock").open("w") as lock:
        try:
            # Unlike flock's, this lock is not inherited: forked helpers that outlive us hold nothing.
            fcntl.lockf(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            if error.errno in (errno.EAGAIN, errno.EACCES):
                raise InputError(f"{folder}: another process is at work here; wait or end it") from None
            # Some shared file systems know no locks: then this is not checked.
        yield


@contextmanager
def waiting_for(path: Path) -> Iterator[None]:
    """Be the only process that makes `path` until the end of the `with` block; wait for another one.

    What a killed process left of it is deleted. Where the file system knows no locks, neither is done. Blocks
    of one folder do not nest: the end of the inner one would free both.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    # One file holds the locks of all files of a folder, each at a byte of its own.
    place = int.from_bytes(hashlib.sha256(path.name.encode()).digest()[:7])
    with path.with_name("lock").open("w") as lock:
        try:
            fcntl.lockf(lock, fcntl.LOCK_EX, 1, place)
        except OSError:
            pass
        else:
            for unfinished in path.parent.glob(f".{glob.escape(path.stem)}.*{path.suffix}"):
                unfinished.unlink()
        yield


def write_json(path: str | Path, content: Any) -> None:
    """Write `content` as indented JSON, sorted by nothing, atomically. NaN is refused (ValueError)."""
    with replacing(path) as beside:
        text = json.dumps(content, indent=2, ensure_ascii=False, allow_nan=False)
        beside.write_text(text + "\n", encoding="utf-8")


def read_json(path: str | Path) -> Any:
    """Read a JSON file; an `InputError` names it where it is missing or not JSON."""
    try:
        return json.loads(Path(path).read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise InputError(f"{path}: no such file") from None
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: not JSON ({error}); delete it and run again") from None


def sha256_of(path: str | Path) -> str:
    """The SHA-256 of a file's bytes, in hexadecimal."""
    with Path(path).open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
