"""No host is asked more often than so many times a second, by all processes of a job together.

Each process has the same small file in memory: for every host (by a hash of its name; two that share one
wait for each other) the moment from which it may be asked again. Who asks takes it, and sleeps until then.
"""

import fcntl
import mmap
import os
import threading
import time
import zlib
from pathlib import Path

_HOSTS = 1 << 16
_BYTES = 8


class Pace:
    """Waits before a host is asked; `file` is one of `Pace.make`, the same for all processes."""

    def __init__(self, file: Path, requests_per_second: float) -> None:
        self._file = os.open(file, os.O_RDWR)  # until the process ends
        self._moments = memoryview(mmap.mmap(self._file, _HOSTS * _BYTES)).cast("d")
        self._seconds = 1 / requests_per_second
        self._threads = threading.Lock()  # the file's lock is the process's, not the thread's

    @staticmethod
    def make(file: Path) -> None:
        """Write a file in which no host has been asked."""
        file.write_bytes(bytes(_HOSTS * _BYTES))

    def wait(self, host: str) -> None:
        """Sleep until the host may be asked once more."""
        # This clock is the machine's: the same for all its processes.
        left = self._take(zlib.crc32(host.lower().encode()) % _HOSTS) - time.monotonic()
        if left > 0:
            time.sleep(left)

    def _take(self, host: int) -> float:
        with self._threads:
            fcntl.lockf(self._file, fcntl.LOCK_EX)
            try:
                moment = max(time.monotonic(), self._moments[host])
                self._moments[host] = moment + self._seconds
            finally:
                fcntl.lockf(self._file, fcntl.LOCK_UN)
        return moment
