"""Failing disks for tests: the system's errors, raised by the calls that Python's file objects make."""

import io
import os
import resource
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

# What a disk, a file server, an exhausted machine or a wrong mode answers.
NUMBERS = ("EIO", "ESTALE", "ENOMEM", "EACCES", "EMFILE", "ETIMEDOUT", "EUCLEAN", "EKEYEXPIRED")


class _Failing(io.FileIO):
    number = 0

    def readinto(self, buffer: Any) -> int:
        raise OSError(self.number, os.strerror(self.number))

    def readall(self) -> bytes:
        raise OSError(self.number, os.strerror(self.number))


def fail_reads_below(monkeypatch: pytest.MonkeyPatch, folder: Path, number: int) -> None:
    """Have each file below `folder` open, and every read of it fail; such an error names no file."""
    opened = io.open

    def open_failing(file: Any, mode: str = "r", *rest: Any, **more: Any) -> Any:
        if not isinstance(file, int) and Path(file).is_relative_to(folder) and mode in ("r", "rb"):
            raw = type("Failing", (_Failing,), {"number": number})(file, "rb")
            binary = io.BufferedReader(raw)
            return binary if "b" in mode else io.TextIOWrapper(binary)
        return opened(file, mode, *rest, **more)

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
def limited(kind: int, soft: int) -> Iterator[None]:
    """Lower one of this process's limits (`resource.RLIMIT_…`) for the `with` block."""
    before = resource.getrlimit(kind)
    resource.setrlimit(kind, (soft, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(kind, before)


@contextmanager
def no_descriptor_left() -> Iterator[None]:
    """Let every attempt to open a file fail with EMFILE, as in a process with too many open files."""
    lowest = os.open(os.devnull, os.O_RDONLY)
    os.close(lowest)
    with limited(resource.RLIMIT_NOFILE, lowest):
        yield


def as_nobody(work: Callable[[], None]) -> int:
    """Do the work in a forked process without root's rights; its exit status, 1 where it raised."""
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
