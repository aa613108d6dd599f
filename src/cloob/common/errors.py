"""User-facing errors, and the classification of I/O errors with their remedies."""

import errno
import os
import re
import sqlite3
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


class InputError(Exception):
    """A user-facing error: one line that names the file, the row or key, and the remedy.

    `cloob` prints it without a traceback and exits with status 2.
    """


class PeerLostError(InputError):
    """Another process of the run has failed, so this one cannot continue: a consequence, never the cause."""


def one_line(error: BaseException) -> str:
    """The message of an error on one line: those of pyarrow may have several."""
    return " ".join(str(error).split())


_OTHER_PATH = "use another path"
# For all other system errors of a file (ETIMEDOUT, EUCLEAN, EKEYEXPIRED, …) except `_CONTENT_ERRNOS`.
_STORAGE_FAILURE = (
    "the disk or file server failed, not the content: run again, ask an administrator if it persists"
)
_REMEDIES = {
    errno.ENOSPC: "free space there (`df -h`, `df -i`) or use another disk, then run again",
    errno.EDQUOT: "delete files or ask for a larger quota, then run again",
    errno.EROFS: "use a folder on a writable file system",
    errno.EACCES: "check owner and mode (`ls -ld`), or use another path",
    errno.EPERM: "check owner, mode and attributes (`ls -ld`, `lsattr`), or use another path",
    errno.EFBIG: "raise the file size limit (`ulimit -f`, also in the job), or use another file system",
    errno.EMFILE: "raise the limit of open files (`ulimit -n`, also in the job), then run again",
    errno.ENFILE: "this machine has too many open files: stop other programs, or ask an administrator",
    errno.ENOMEM: "give the job more memory (mem_mb in slurm/config.yaml), then run again",
    errno.ESTALE: "the file server lost the file: run again, and if it persists ask an administrator",
    errno.ENOENT: "check the path",
    errno.ENAMETOOLONG: "use a shorter path",
    errno.ELOOP: "symbolic links are not followed here, or form a cycle; remove the link",
    errno.EXDEV: _OTHER_PATH,
    errno.EISDIR: _OTHER_PATH,
    errno.ENOTDIR: _OTHER_PATH,
    errno.EEXIST: _OTHER_PATH,
    errno.ENOTEMPTY: _OTHER_PATH,
    errno.EPIPE: "the program that read the output has exited; write to a file, or keep it running",
    errno.EBUSY: "another program uses the file: stop it, then run again",
    errno.ETXTBSY: "another program uses the file: stop it, then run again",
    errno.EIO: _STORAGE_FAILURE,
}
# Errors that damaged content causes, such as a seek to a negative offset, and errors of the peer of a socket
# or pipe.
_CONTENT_ERRNOS = {
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
# Exception types, for libraries that raise them without an error number.
_ERRNO_OF_TYPE = {
    FileNotFoundError: errno.ENOENT,
    PermissionError: errno.EACCES,
    FileExistsError: errno.EEXIST,
    IsADirectoryError: errno.EISDIR,
    NotADirectoryError: errno.ENOTDIR,
    MemoryError: errno.ENOMEM,
}
_ERRNO_OF_SQLITE = {
    sqlite3.SQLITE_FULL: errno.ENOSPC,
    sqlite3.SQLITE_NOMEM: errno.ENOMEM,
    sqlite3.SQLITE_READONLY: errno.EROFS,
    sqlite3.SQLITE_PERM: errno.EACCES,
    sqlite3.SQLITE_IOERR: errno.EIO,
    sqlite3.SQLITE_CANTOPEN: errno.EACCES,
}
# How messages of safetensors, pyarrow, Python and torch contain the system's error.
_ERRNO_IN_MESSAGE = re.compile(r"\(os error (\d+)\)|\[errno (\d+)\]", re.IGNORECASE)
_STRERROR_IN_MESSAGE = re.compile(
    "|".join(f"(?P<e{number}>{re.escape(os.strerror(number))})" for number in _REMEDIES), re.IGNORECASE
)
_GPU_MEMORY_REMEDY = (
    "use a GPU that no other program uses, or a smaller batch: in training micro_batch_size (or "
    "gradient_checkpointing), in evaluation evaluate.batch_size"
)
_WRITE_ERRNOS = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EFBIG)


def io_errno(error: BaseException) -> int | None:
    """The system's error number if reading or writing failed; None if the content is damaged.

    Pillow, pyarrow, zipfile and torch raise `OSError` or their own exceptions both for damaged files and for
    failing disks; only errors that the system itself reports are independent of the content.
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
        return _system_errno(error.errno)
    for kind, number in _ERRNO_OF_TYPE.items():
        if isinstance(error, kind):
            return number
    if isinstance(error, sqlite3.Error):
        code = getattr(error, "sqlite_errorcode", None)
        return None if code is None else _ERRNO_OF_SQLITE.get(code & 0xFF)
    text = str(error)
    if isinstance(error, KeyError | UnicodeError | zlib.error):  # its message quotes content
        return None
    if match := _ERRNO_IN_MESSAGE.search(text):
        return _system_errno(int(match[1] or match[2]))
    if "file read failed" in text or "file open failed" in text or "file write failed" in text:
        return errno.EIO  # torch's reader and writer of zip files
    if isinstance(error, OSError | RuntimeError) and (match := _STRERROR_IN_MESSAGE.search(text)):
        return int(match.lastgroup[1:])  # type: ignore[index]
    return None


def _system_errno(number: int) -> int | None:
    """The number if it is one of the system's (FFmpeg has its own) and damaged content does not cause it."""
    return number if number in errno.errorcode and number not in _CONTENT_ERRNOS else None


@contextmanager
def io_errors_at(path: str | Path) -> Iterator[None]:
    """Reraise I/O errors that name no file (pread, pyarrow, torch, safetensors) as `OSError` of `path`."""
    try:
        yield
    except Exception as error:
        number = io_errno(error)
        if number is None or getattr(error, "filename", None) is not None:
            raise
        raise OSError(number, os.strerror(number), str(path)) from error


def raise_if_io_error(error: BaseException, path: str | Path) -> None:
    """Raise an `OSError` of `path` if the system failed to read it; return if it is damaged or missing.

    For `except` clauses that would otherwise treat every read error as damaged content.
    """
    number = io_errno(error)
    if number is None or number in (errno.ENOENT, errno.ENOTDIR, errno.EISDIR):
        return
    if getattr(error, "filename", None) is not None:
        raise error
    raise OSError(number, os.strerror(number), str(path)) from error


def user_message(error: BaseException) -> str | None:
    """The line to show instead of a traceback; None for a bug, which is shown with its traceback."""
    if isinstance(error, InputError):
        return str(error)
    if type(error).__name__ == "OutOfMemoryError":  # torch's, of a GPU
        return f"{'. '.join(str(error).split('. ')[:2])}; {_GPU_MEMORY_REMEDY}"
    # A broken pipe that is not handled earlier is standard output: callers handle connection errors.
    number = errno.EPIPE if isinstance(error, BrokenPipeError) else io_errno(error)
    if number is None:
        return None
    path = _path_of(error, number)
    if path is None and number == errno.ENOENT:
        return None  # no file that the user could check
    prefix = "" if path is None else f"{path}: "
    return f"{prefix}{os.strerror(number)}; {_REMEDIES.get(number, _STORAGE_FAILURE)}"


def _path_of(error: BaseException, number: int) -> str | None:
    """The file of an I/O error or of its cause; for a copy, the file that could not be read or written."""
    current: BaseException | None = error
    for _ in range(10):
        if current is None:
            return None
        source, target = (getattr(current, name, None) for name in ("filename", "filename2"))
        path = target if target is not None and number in _WRITE_ERRNOS else source
        if path is not None:
            return os.fsdecode(path) if isinstance(path, bytes | os.PathLike) else str(path)
        current = current.__cause__ or (None if current.__suppress_context__ else current.__context__)
    return None
