"""Atomic file writes, locks and checksums; follows no symbolic link that others may have placed."""

import errno
import fcntl
import hashlib
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from cloob.common.errors import InputError, naming

# Some shared file systems have no locks.
_NO_LOCKS = (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, errno.EINVAL)


@contextmanager
def atomic_write(path: str | Path) -> Iterator[Path]:
    """Yield a path beside `path` to write to; rename it to `path` on success, delete it on failure.

    The temporary name keeps the suffix of `path`, because many writers choose the format by it, and is of one
    process: the number alone is another's too, on another node. An I/O error that names no file, as most
    writers raise it, or the temporary one, is raised as an `OSError` of `path`.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(f".{path.stem}.{os.uname().nodename}.{os.getpid()}{path.suffix}")
    try:
        with naming(path):
            # Whatever has this name was left by a killed process, or placed here by somebody: a symbolic link
            # would have us overwrite its target.
            beside.unlink(missing_ok=True)
            os.close(os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666))
            yield beside
            with beside.open("rb+") as written:
                os.fsync(written.fileno())
            beside.replace(path)
    except BaseException as error:
        with suppress(OSError):  # the error that is being raised says more
            beside.unlink(missing_ok=True)
        if isinstance(error, OSError):  # the user knows the file by its final name
            for attribute in ("filename", "filename2"):
                if getattr(error, attribute) in (beside, str(beside)):
                    setattr(error, attribute, str(path))
        raise


def no_follow(path: str, flags: int) -> int:
    """An `opener` for `open`: where the path is a symbolic link, it is an error (ELOOP)."""
    return os.open(path, flags | os.O_NOFOLLOW | os.O_CLOEXEC, 0o666)


@contextmanager
def _lock_file(path: Path) -> Iterator[int]:
    """The descriptor of a lock file: never truncated, never reached through a symbolic link."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, 0o666)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


@contextmanager
def exclusive_dir_lock(folder: Path) -> Iterator[None]:
    """Be the only process with this folder until the end of the `with` block; raise `InputError` if not."""
    folder.mkdir(parents=True, exist_ok=True)
    with _lock_file(folder / "lock") as lock:
        try:
            # Unlike flock's, this lock is not inherited: forked helpers that outlive us hold nothing.
            fcntl.lockf(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            if error.errno in (errno.EAGAIN, errno.EACCES):
                raise InputError(f"{folder}: another process is at work here; wait or end it") from None
            if error.errno not in _NO_LOCKS:  # else this is not checked
                error.filename = str(folder / "lock")
                raise
        yield


@contextmanager
def file_lock(path: Path) -> Iterator[None]:
    """Be the only process that makes `path` until the end of the `with` block; wait for another one.

    What a killed process left of it is deleted. Where the file system knows no locks, neither is done. Blocks
    of one folder do not nest: the end of the inner one would free both.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    # One file holds the locks of all files of a folder, each at a byte of its own.
    place = int.from_bytes(hashlib.sha256(os.fsencode(path.name)).digest()[:7])
    with _lock_file(path.with_name("lock")) as lock:
        try:
            fcntl.lockf(lock, fcntl.LOCK_EX, 1, place)
        except OSError as error:
            if error.errno not in _NO_LOCKS:
                error.filename = str(path.with_name("lock"))
                raise
        else:
            for unfinished in entries(path.parent, "*"):
                if unfinished.name.startswith(f".{path.stem}.") and unfinished.suffix == path.suffix:
                    unfinished.unlink()
        yield


def entries(folder: Path, pattern: str) -> list[Path]:
    """The entries of a folder whose names match, in the order of their names; none where there is no folder.

    `Path.glob` finds nothing in a folder that it may not read; here that is an error.
    """
    try:
        found = list(folder.iterdir())
    except FileNotFoundError:
        return []
    return sorted(path for path in found if fnmatchcase(path.name, pattern))


def write_json(path: str | Path, content: Any) -> None:
    """Write `content` as indented JSON, sorted by nothing, atomically. NaN is refused (ValueError)."""
    with atomic_write(path) as beside:
        text = json.dumps(content, indent=2, ensure_ascii=False, allow_nan=False)
        # Bytes of a file's name that are not UTF-8 become \udcXX, which reads back as the same name.
        beside.write_text(text + "\n", encoding="utf-8", errors="backslashreplace")


def read_json(path: str | Path) -> Any:
    """Read a JSON file; an `InputError` names it where it is missing or not JSON (I/O errors: `OSError`)."""
    try:
        with naming(path):
            content = Path(path).read_bytes()
        return json.loads(content.decode("utf-8-sig"))
    except FileNotFoundError:
        raise InputError(f"{path}: no such file") from None
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: not JSON ({error}); delete it and run again") from None


def sha256_of(path: str | Path) -> str:
    """The SHA-256 of a file's bytes, in hexadecimal."""
    with naming(path), Path(path).open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
