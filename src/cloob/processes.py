"""Processes that end with the one that started them, however that one ended."""

import ctypes
import os
import sys

_PR_SET_PDEATHSIG = 1


def end_with(parent: int, number: int) -> None:
    """Ask the kernel (Linux) to send this process the signal `number` when `parent`, its parent, ends."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, number)
        if os.getppid() != parent:  # it ended before it could be asked
            os._exit(1)
