"""Host rate limiting shared by all processes of a job.

All processes map the same small file into memory. It holds, for every host (by a hash of its name; colliding
hosts share an entry), the time from which the next request may start. A request reserves the next free slot
and sleeps until then.
"""

import fcntl
import mmap
import os
import threading
import time
import zlib
from pathlib import Path

_SLOTS = 1 << 16
_BYTES = 8


class HostRateLimiter:
    """Limits the requests per second to each host; `file` is made by `create_file`, one for all processes."""

    def __init__(self, file: Path, requests_per_second: float) -> None:
        self._file = os.open(file, os.O_RDWR)  # until the process ends
        self._next_start = memoryview(mmap.mmap(self._file, _SLOTS * _BYTES)).cast("d")
        self._interval = 1 / requests_per_second
        self._thread_lock = threading.Lock()  # the file lock excludes processes, not threads

    @staticmethod
    def create_file(file: Path) -> None:
        """Write the shared file, in which no host has been contacted."""
        file.write_bytes(bytes(_SLOTS * _BYTES))

    def wait(self, host: str) -> None:
        """Sleep until the next request to the host may start."""
        # The monotonic clock is the same for all processes of a machine.
        remaining = self._reserve(zlib.crc32(host.lower().encode()) % _SLOTS) - time.monotonic()
        if remaining > 0:
            time.sleep(remaining)

    def _reserve(self, slot: int) -> float:
        with self._thread_lock:
            fcntl.lockf(self._file, fcntl.LOCK_EX)
            try:
                start = max(time.monotonic(), self._next_start[slot])
                self._next_start[slot] = start + self._interval
            finally:
                fcntl.lockf(self._file, fcntl.LOCK_UN)
        return start
