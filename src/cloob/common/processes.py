"""Worker processes that never outlive the process that started them."""

import atexit
import ctypes
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from multiprocessing import active_children, get_context
from multiprocessing.process import BaseProcess
from typing import Any

from cloob.common.errors import InputError

_PR_SET_PDEATHSIG = 1


def die_with_parent(parent: int, number: int) -> None:
    """Ask the kernel (Linux) to send this process the signal `number` when `parent`, its parent, ends."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, number)
        if os.getppid() != parent:  # it ended before it could be asked
            os._exit(1)


@contextmanager
def kill_children_on_exit(only_on_failure: bool = False) -> Iterator[None]:
    """Kill the `multiprocessing` children that the block started when it ends (or only when it raises).

    With SIGKILL: SIGTERM may be blocked in them, or wait for a call into C.
    """
    before = active_children()
    try:
        yield
    except BaseException:
        _kill([child for child in active_children() if child not in before])
        raise
    if not only_on_failure:
        _kill([child for child in active_children() if child not in before])


def _kill(children: list[BaseProcess]) -> None:
    # torch's SIGCHLD handler raises for a DataLoader worker that was killed, even by us.
    in_main_thread = threading.current_thread() is threading.main_thread()
    handler = signal.signal(signal.SIGCHLD, signal.SIG_DFL) if in_main_thread else None
    try:
        for child in children:
            child.kill()
        for child in children:
            child.join()
    finally:
        if handler is not None:
            signal.signal(signal.SIGCHLD, handler)


def _kill_daemons() -> None:
    """`multiprocessing` would send them SIGTERM, which may be blocked, and wait."""
    _kill([child for child in active_children() if child.daemon])


# Handlers run in the reverse order of their registration, and `multiprocessing` has registered its own.
atexit.register(_kill_daemons)


@contextmanager
def process_pool(
    processes: int, initializer: Callable[..., None] | None = None, arguments: tuple[Any, ...] = ()
) -> Iterator[ProcessPoolExecutor]:
    """A pool of spawned processes that die with this one, and at once when the block raises.

    `initializer(*arguments)` runs first in each. Raises `InputError` where one of them is killed.
    """
    # Not forked: threads (of tqdm, torch, FFmpeg) do not survive a fork.
    initial = (os.getpid(), initializer, arguments)
    pool = ProcessPoolExecutor(processes, get_context("spawn"), _begin, initial)
    # Start all before the executor's thread watches them, as with fork. Started on demand, the last may be
    # killed unseen, and its result is waited for without end (CPython 3.11 and 3.12).
    pool._safe_to_dynamically_spawn_children = False  # type: ignore[attr-defined]
    try:
        with pool, kill_children_on_exit(only_on_failure=True):
            yield pool
    except BrokenProcessPool:
        raise InputError(
            f"one of {processes} worker processes was killed, perhaps for lack of memory; run again with "
            "more memory or fewer processes"
        ) from None


def _begin(parent: int, initializer: Callable[..., None] | None, arguments: tuple[Any, ...]) -> None:
    die_with_parent(parent, signal.SIGKILL)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the parent too, which kills its pool
    if initializer:
        initializer(*arguments)
