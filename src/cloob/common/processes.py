"""Child processes that die with their parent (PR_SET_PDEATHSIG), and process pools made of them."""

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
# `multiprocessing` starts a process that deletes the semaphores of a pool which this one left behind, because
# it was interrupted or killed. That is expected, so it prints no warning after the last line of this process.
sys.warnoptions.append("ignore:resource_tracker:UserWarning")


def die_with_parent(parent: int, signal_number: int) -> None:
    """Have the kernel (Linux) send a signal to this process when its parent, of PID `parent`, ends."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal_number)
        if os.getppid() != parent:  # the parent ended before the call
            os._exit(1)


@contextmanager
def kill_children_on_exit(only_on_failure: bool = False) -> Iterator[None]:
    """Kill the `multiprocessing` children started in the `with` block when it ends, or only if it raises.

    With SIGKILL: children may block SIGTERM, or be in a long C call.
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
    # torch's SIGCHLD handler raises for every killed DataLoader worker, even if this process killed it.
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
    """Runs before the exit handler of `multiprocessing`, which sends SIGTERM (may be blocked) and waits."""
    _kill([child for child in active_children() if child.daemon])


# Exit handlers run in reverse order of registration; `multiprocessing` has already registered its own.
atexit.register(_kill_daemons)


@contextmanager
def process_pool(
    processes: int, initializer: Callable[..., None] | None = None, arguments: tuple[Any, ...] = ()
) -> Iterator[ProcessPoolExecutor]:
    """A pool of spawned processes, killed when this process dies or the `with` block raises.

    `initializer(*arguments)` runs first in each process. Raises `InputError` if a process is killed.

    Use `submit`, not `map`: after an exception, `map` cancels its tasks, and the executor's thread prints a
    traceback when the pool is then killed (CPython 3.11 and 3.12).
    """
    # Spawned, not forked: threads (of tqdm, torch, FFmpeg) do not survive a fork.
    initial_arguments = (os.getpid(), initializer, arguments)
    pool = ProcessPoolExecutor(processes, get_context("spawn"), _init_worker, initial_arguments)
    # Start all processes before the executor's thread watches them, as with fork. Started on demand, the
    # death of the last one may go unnoticed, and its result is awaited forever (CPython 3.11 and 3.12).
    pool._safe_to_dynamically_spawn_children = False  # type: ignore[attr-defined]
    try:
        with pool, kill_children_on_exit(only_on_failure=True):
            # While they start, Ctrl-C would print a traceback of each: the signal stays blocked in them.
            before = signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT])
            try:
                pool._start_executor_manager_thread()  # and the processes
            finally:
                signal.pthread_sigmask(signal.SIG_SETMASK, before)
            yield pool
    except BrokenProcessPool:
        raise InputError(
            f"one of {processes} worker processes was killed, possibly out of memory; run again with more "
            "memory or fewer processes"
        ) from None


def _init_worker(parent: int, initializer: Callable[..., None] | None, arguments: tuple[Any, ...]) -> None:
    die_with_parent(parent, signal.SIGKILL)
    if initializer:
        initializer(*arguments)
