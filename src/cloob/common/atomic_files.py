"""Atomic file writes that never follow a symbolic link."""

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from glob import escape
from pathlib import Path

from cloob.common.directories import sorted_glob
from cloob.common.errors import io_errors_at


@contextmanager
def atomic_write(path: str | Path) -> Iterator[Path]:
    """Yield a temporary path next to `path`; rename it to `path` on success, delete it on failure.

    The temporary name keeps the suffix of `path`, because many writers choose the format by it. It contains
    the host name and the process ID, since a process ID alone is not unique on a shared file system. I/O
    errors that name no file, or the temporary one, are raised as an `OSError` that names `path`.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.stem}.{os.uname().nodename}.{os.getpid()}{path.suffix}")
    try:
        with io_errors_at(path):
            # An existing file of this name is a leftover of a killed process, or a symbolic link planted by
            # somebody else, whose target would be overwritten.
            temporary.unlink(missing_ok=True)
            os.close(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666))
            yield temporary
            with temporary.open("rb+") as written:
                os.fsync(written.fileno())
            temporary.replace(path)
    except BaseException as error:
        with suppress(OSError):  # the original error is more informative
            temporary.unlink(missing_ok=True)
        if isinstance(error, OSError):  # the user knows the file by its final name
            for attribute in ("filename", "filename2"):
                if getattr(error, attribute) in (temporary, str(temporary)):
                    setattr(error, attribute, str(path))
        raise


def remove_leftovers(path: Path, current: Path | None = None) -> None:
    """Delete temporary files of `path` that killed processes left behind, but not `current`.

    No other process may be writing `path`: hold a lock.
    """
    for leftover in sorted_glob(path.parent, f".{escape(path.stem)}.*{escape(path.suffix)}"):
        if leftover != current:
            leftover.unlink()


def open_no_follow(path: str, flags: int) -> int:
    """An `opener` for `open()` that fails with ELOOP if `path` is a symbolic link."""
    return os.open(path, flags | os.O_NOFOLLOW | os.O_CLOEXEC, 0o666)
