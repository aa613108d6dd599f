"""File locks between processes. On file systems without lock support they have no effect."""

import errno
import fcntl
import hashlib
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from cloob.common.atomic_files import remove_leftovers
from cloob.common.errors import InputError

LOCK_FILE = "lock"  # in a locked folder
_LOCKS_UNSUPPORTED = (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, errno.EINVAL)


@contextmanager
def _open_lock_file(path: Path) -> Iterator[int]:
    """The descriptor of a lock file, which is never truncated and never opened through a symbolic link."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, 0o666)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


@contextmanager
def exclusive_dir_lock(folder: Path) -> Iterator[None]:
    """Lock a folder for the `with` block; raise `InputError` if another process holds the lock."""
    folder.mkdir(parents=True, exist_ok=True)
    with _open_lock_file(folder / LOCK_FILE) as lock:
        try:
            # Unlike flock, lockf locks are not inherited: forked helpers that outlive this process hold none.
            fcntl.lockf(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            if error.errno in (errno.EAGAIN, errno.EACCES):
                raise InputError(f"{folder}: in use by another process; wait for it or stop it") from None
            if error.errno not in _LOCKS_UNSUPPORTED:
                error.filename = str(folder / LOCK_FILE)
                raise
        yield


@contextmanager
def file_lock(path: Path) -> Iterator[None]:
    """Serialize the creation of `path`: wait for the lock, then hold it for the `with` block.

    Temporary files that a killed `atomic_write` of `path` left behind are deleted (not where locks are
    unsupported). Blocks for files of the same folder must not be nested: leaving the inner block would
    release both locks.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    # A single lock file per folder; each path locks one byte of it, at an offset derived from its name.
    offset = int.from_bytes(hashlib.sha256(os.fsencode(path.name)).digest()[:7])
    with _open_lock_file(path.with_name(LOCK_FILE)) as lock:
        try:
            fcntl.lockf(lock, fcntl.LOCK_EX, 1, offset)
        except OSError as error:
            if error.errno not in _LOCKS_UNSUPPORTED:
                error.filename = str(path.with_name(LOCK_FILE))
                raise
        else:
            remove_leftovers(path)
        yield
