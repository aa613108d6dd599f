"""User-facing errors, and the one place that knows what an I/O error means and how to remedy it."""

import errno
import os
import re
import sqlite3
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


class InputError(Exception):
    """Bad input: one line that names the file, the row or key, and the remedy.

    `cloob` prints it without a traceback and exits with status 2.
    """


class PeerLostError(InputError):
    """Another process of the run has failed, so this one cannot go on: a consequence, never the cause."""


_OTHER = "name another path"
# What else the system reports of a file (ETIMEDOUT, EUCLEAN, EKEYEXPIRED, …) is this, but for `_OF_CONTENT`.
_SERVER = "the disk or file server failed, not the content: run again, ask an administrator if it persists"
_REMEDIES = {
    errno.ENOSPC: "free space there (`df -h`, `df -i`) or use another disk, then run again",
    errno.EDQUOT: "delete files or ask for a larger quota, then run again",
    errno.EROFS: "use a folder on a writable file system",
    errno.EACCES: "check owner and mode (`ls -ld`), or name another path",
    errno.EPERM: "check owner, mode and attributes (`ls -ld`, `lsattr`), or name another path",
    errno.EFBIG: "raise the file size limit (`ulimit -f`; the job's, too), or use another file system",
    errno.EMFILE: "raise the limit of open files (`ulimit -n`; the job's, too), then run again",
    errno.ENFILE: "this machine has too many open files: end other programs, or ask an administrator",
    errno.ENOMEM: "give the job more memory (mem_mb in slurm/config.yaml), then run again",
    errno.ESTALE: "the file server lost the file: run again, and if it persists ask an administrator",
    errno.ENOENT: "check the path",
    errno.ENAMETOOLONG: "use a shorter path",
    errno.ELOOP: "it is a symbolic link where none is followed, or links in a circle; remove it",
    errno.EXDEV: _OTHER,
    errno.EISDIR: _OTHER,
    errno.ENOTDIR: _OTHER,
    errno.EEXIST: _OTHER,
    errno.ENOTEMPTY: _OTHER,
    errno.EPIPE: "the program that read the output has ended; write to a file, or keep it running",
    errno.EBUSY: "another program uses it: end that one, then run again",
    errno.ETXTBSY: "another program uses it: end that one, then run again",
    errno.EIO: _SERVER,
}
# What damaged content leads readers to ask for, such as a place before a file's first byte; and what the
# other side of a socket or pipe has done.
_OF_CONTENT = {
    errno.EINVAL,
    errno.EILSEQ,
    errno.ERANGE,
    errno.EDOM,
    errno.EOVERFLOW,
    errno.ESPIPE,
    errno.EBADF,
    errno.EPIPE,
    errno.ECONNREFUSED,
    errno.ECONNRESET,
    errno.ECONNABORTED,
    errno.EADDRINUSE,
    errno.EADDRNOTAVAIL,
}
# Python's types for errors of libraries that lose the number.
_OF_TYPE = {
    FileNotFoundError: errno.ENOENT,
    PermissionError: errno.EACCES,
    FileExistsError: errno.EEXIST,
    IsADirectoryError: errno.EISDIR,
    NotADirectoryError: errno.ENOTDIR,
    MemoryError: errno.ENOMEM,
}
_OF_SQLITE = {
    sqlite3.SQLITE_FULL: errno.ENOSPC,
    sqlite3.SQLITE_NOMEM: errno.ENOMEM,
    sqlite3.SQLITE_READONLY: errno.EROFS,
    sqlite3.SQLITE_PERM: errno.EACCES,
    sqlite3.SQLITE_IOERR: errno.EIO,
    sqlite3.SQLITE_CANTOPEN: errno.EACCES,
}
# What libraries write of the system's error in a message of their own: safetensors, pyarrow, Python, torch.
_NUMBER = re.compile(r"\(os error (\d+)\)|\[errno (\d+)\]", re.IGNORECASE)
_TEXT = re.compile(
    "|".join(f"(?P<e{number}>{re.escape(os.strerror(number))})" for number in _REMEDIES), re.IGNORECASE
)
_WRITES = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EFBIG)


def io_errno(error: BaseException) -> int | None:
    """The system's error number where reading or writing failed; None where the content is to blame.

    Pillow, pyarrow, zipfile and torch raise `OSError` or an error of their own for damaged files and for
    failing disks alike: only what the system itself reported says nothing about the content.
    """
    seen: set[int] = set()
    current: BaseException | None = error
    while current is not None and id(current) not in seen and not isinstance(current, InputError):
        seen.add(id(current))
        if (number := _own_errno(current)) is not None:
            return number
        current = current.__cause__ or (None if current.__suppress_context__ else current.__context__)
    return None


def _own_errno(error: BaseException) -> int | None:
    if isinstance(error, OSError) and error.errno is not None:
        return _if_system(error.errno)
    for kind, number in _OF_TYPE.items():
        if isinstance(error, kind):
            return number
    if isinstance(error, sqlite3.Error):
        code = getattr(error, "sqlite_errorcode", None)
        return None if code is None else _OF_SQLITE.get(code & 0xFF)
    text = str(error)
    if isinstance(error, KeyError | UnicodeError | zlib.error):  # quotes content
        return None
    if found := _NUMBER.search(text):
        return _if_system(int(found[1] or found[2]))
    if "file read failed" in text or "file open failed" in text or "file write failed" in text:
        return errno.EIO  # torch's reader and writer of zip files
    if isinstance(error, OSError | RuntimeError) and (found := _TEXT.search(text)):
        return int(found.lastgroup[1:])  # type: ignore[index]
    return None


def _if_system(number: int) -> int | None:
    """The number, where it is one of the system's (FFmpeg has its own) and not to blame on the content."""
    return number if number in errno.errorcode and number not in _OF_CONTENT else None


@contextmanager
def io_errors_at(path: str | Path) -> Iterator[None]:
    """Raise an I/O error that names no file (pread, pyarrow, torch, safetensors) as `OSError` of `path`."""
    try:
        yield
    except Exception as error:
        number = io_errno(error)
        if number is None or getattr(error, "filename", None) is not None:
            raise
        raise OSError(number, os.strerror(number), str(path)) from error


def raise_if_io_error(error: BaseException, path: str | Path) -> None:
    """Where the system failed to read `path`, raise an `OSError` of it; return where it is bad or absent.

    For `except` clauses that would blame the content of a file for every error on reading it.
    """
    number = io_errno(error)
    if number is None or number in (errno.ENOENT, errno.ENOTDIR, errno.EISDIR):
        return
    if getattr(error, "filename", None) is not None:
        raise error
    raise OSError(number, os.strerror(number), str(path)) from error


def user_message(error: BaseException) -> str | None:
    """What the user is shown instead of a traceback; None where a traceback is due (a defect)."""
    if isinstance(error, InputError):
        return str(error)
    # Whatever reaches here is no connection of ours: those are answered where they are made.
    number = errno.EPIPE if isinstance(error, BrokenPipeError) else io_errno(error)
    if number is None:
        return None
    path = _path_of(error, number)
    if path is None and number == errno.ENOENT:
        return None  # not a file that the user could look for
    named = "" if path is None else f"{path}: "
    return f"{named}{os.strerror(number)}; {_REMEDIES.get(number, _SERVER)}"


def _path_of(error: BaseException, number: int) -> str | None:
    """The file of an I/O error or of one that it was raised from; of a copy, the side that failed."""
    current: BaseException | None = error
    for _ in range(10):
        if current is None:
            return None
        source, target = (getattr(current, name, None) for name in ("filename", "filename2"))
        found = target if target is not None and number in _WRITES else source
        if found is not None:
            return os.fsdecode(found) if isinstance(found, bytes | os.PathLike) else str(found)
        current = current.__cause__ or (None if current.__suppress_context__ else current.__context__)
    return None
