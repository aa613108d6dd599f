"""Simulated I/O errors: operating system errors raised by the calls that Python's file objects make."""

import io
import os
import resource
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

# Errors of failing disks and file servers, exhausted resources and missing permissions.
ERRNO_NAMES = ("EIO", "ESTALE", "ENOMEM", "EACCES", "EMFILE", "ETIMEDOUT", "EUCLEAN", "EKEYEXPIRED")


class _Failing(io.FileIO):
    number = 0

    def readinto(self, buffer: Any) -> int:
        raise OSError(self.number, os.strerror(self.number))

    def readall(self) -> bytes:
        raise OSError(self.number, os.strerror(self.number))


def fail_reads_below(monkeypatch: pytest.MonkeyPatch, folder: Path, number: int) -> None:
    """Let every read of a file below `folder` fail, although it opens; the error names no file."""
    io_open = io.open

    def open_failing(file: Any, mode: str = "r", *args: Any, **kwargs: Any) -> Any:
        if not isinstance(file, int) and Path(file).is_relative_to(folder) and mode in ("r", "rb"):
            raw = type("Failing", (_Failing,), {"number": number})(file, "rb")
            binary = io.BufferedReader(raw)
            return binary if "b" in mode else io.TextIOWrapper(binary)
        return io_open(file, mode, *args, **kwargs)

    def pread(descriptor: int, length: int, offset: int) -> bytes:
        path = Path(f"/proc/self/fd/{descriptor}").readlink()
        if path.is_relative_to(folder):
            raise OSError(number, os.strerror(number))
        return os_pread(descriptor, length, offset)

    os_pread = os.pread
    monkeypatch.setattr(io, "open", open_failing)
    monkeypatch.setattr("builtins.open", open_failing)
    monkeypatch.setattr(os, "pread", pread)


@contextmanager
def resource_limit(kind: int, soft: int) -> Iterator[None]:
    """Lower a resource limit (`resource.RLIMIT_…`) of this process for the `with` block."""
    before = resource.getrlimit(kind)
    resource.setrlimit(kind, (soft, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(kind, before)


@contextmanager
def no_free_descriptors() -> Iterator[None]:
    """Let every attempt to open a file fail with EMFILE, as with too many open files."""
    lowest = os.open(os.devnull, os.O_RDONLY)
    os.close(lowest)
    with resource_limit(resource.RLIMIT_NOFILE, lowest):
        yield


def run_as_nobody(work: Callable[[], None]) -> int:
    """Run `work` in a forked process without root privileges; return its exit status, 1 if it raised."""
    child = os.fork()
    if child == 0:
        status = 1
        try:
            if os.geteuid() == 0:
                os.setgroups([])
                os.setgid(65534)
                os.setuid(65534)
            work()
            status = 0
        finally:
            os._exit(status)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
