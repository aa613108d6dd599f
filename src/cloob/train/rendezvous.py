"""The processes of a run meet at MASTER_ADDR and MASTER_PORT, and check that they are of one run."""

import errno
import json
import os
import socket
import time
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from contextlib import suppress
from datetime import timedelta
from threading import Thread
from typing import TypeVar

import torch.distributed as dist

from cloob.common.errors import InputError

# Launchers start all processes at once; what they import first takes longest, from a slow file system.
_PATIENCE = timedelta(minutes=10)
_GRACE = timedelta(minutes=1)  # where torch keeps to that time, its message comes first and says more
_SECONDS_TO_READ = 10.0  # of the verdict, before the process that hosts the store ends
# What tells runs apart beside their options: the launcher's names for a job, a step and a start of torchrun.
_LAUNCHERS = {
    "job": "SLURM_JOB_ID",
    "step": "SLURM_STEP_ID",
    "hosts": "SLURM_STEP_NODELIST",
    "torchrun": "TORCHELASTIC_RUN_ID",
    "processes": "WORLD_SIZE",
}

Identity = Mapping[str, str]
T = TypeVar("T")


def meet(rank: int, processes: int, run: Identity) -> dist.Store:
    """Join the other processes and return the store that all share.

    `run` says which run this is; the launcher's variables are added to it. Raises `InputError` where the
    address or the port cannot be used, a process does not join in time, or one of another run joins; then
    all raise.
    """
    address, port = os.environ.get("MASTER_ADDR"), os.environ.get("MASTER_PORT")
    if not address or not port or not port.isdecimal() or int(port) == 0:
        raise InputError(
            f"RANK is set, for one of several processes, but MASTER_ADDR is {address!r}, "
            f"MASTER_PORT {port!r}; set both, or unset RANK"
        )
    place = f"{address}:{port}"
    _check_address(address)
    hosts_store = rank == 0 and os.environ.get("TORCHELASTIC_USE_AGENT_STORE") != "True"
    if hosts_store:
        _check_port(place, int(port))
    identity = dict(run) | {key: os.environ[name] for key, name in _LAUNCHERS.items() if name in os.environ}

    def join() -> dist.Store:
        store: dist.Store
        store, _, _ = next(dist.rendezvous("env://", timeout=_PATIENCE))
        _compare(dist.PrefixStore("identity", store), rank, processes, identity, place)
        return store

    try:
        return in_time(join)
    except (dist.DistError, ValueError) as error:
        reason = str(error).splitlines()[0]
    except TimeoutError:
        reason = "nothing there answers"
    raise InputError(
        f"{place}: process {rank} of {processes} cannot join the others ({reason}); did all start? "
        "Is the port another program's?"
    )


def in_time(join: Callable[[], T]) -> T:
    """`join()`, which may take as long as a start may wait; raises `TimeoutError` where it takes longer.

    In a thread: torch waits without end for what accepts but does not answer, deaf to Ctrl-C.
    """
    joined: Future[T] = Future()

    def run() -> None:
        try:
            joined.set_result(join())
        except Exception as error:
            joined.set_exception(error)

    Thread(target=run, daemon=True).start()
    return joined.result((_PATIENCE + _GRACE).total_seconds())


def _check_address(address: str) -> None:
    try:
        socket.getaddrinfo(address, None)
    except OSError as error:
        raise InputError(
            f"MASTER_ADDR: {address} cannot be resolved ({error.strerror}); name the first node"
        ) from None


def _check_port(place: str, port: int) -> None:
    """In one line: torch's own message is a traceback below several warnings."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("", port))
        except (OSError, OverflowError) as error:
            if isinstance(error, OSError) and error.errno not in (errno.EADDRINUSE, errno.EACCES):
                return
            reason = error.strerror if isinstance(error, OSError) else "no port has this number"
            raise InputError(f"MASTER_PORT: {place} cannot be used ({reason}); set another") from None


def _compare(store: dist.Store, rank: int, processes: int, identity: Identity, place: str) -> None:
    """Process 0 compares all identities, as far as both know them, and says what it found."""
    arrived = store.add(f"arrived/{rank}", 1)
    store.set(f"{rank}/{arrived}", json.dumps(identity))
    if rank == 0 and arrived == 1:
        found = ""
        for other in range(1, processes):
            _wait(store, f"{other}/1", f"{place}: process {other} of {processes} did not join")
            theirs = json.loads(store.get(f"{other}/1"))
            different = [key for key in identity if key in theirs and theirs[key] != identity[key]]
            if different:
                listed = ", ".join(f"{key} {identity[key]} and {theirs[key]}" for key in different)
                found = f"{place}: processes of two runs met here ({listed}); set another MASTER_PORT in one"
                break
        store.set("verdict", found)
        if found:
            _let_read(store, processes)
            raise InputError(found)
        return
    _wait(store, "verdict", f"{place}: process 0 of {processes} did not compare the runs")
    if found := store.get("verdict").decode():
        with suppress(dist.DistError):  # process 0 may be gone
            store.add("read", 1)
        raise InputError(found)
    if arrived > 1:
        raise InputError(f"{place}: another run's process {rank} is there already; set another MASTER_PORT")


def _wait(store: dist.Store, key: str, failure: str) -> None:
    try:
        store.wait([key], _PATIENCE)
    except dist.DistStoreError:
        minutes = _PATIENCE.total_seconds() / 60
        raise InputError(f"{failure} within {minutes:.0f} minutes; see its log") from None


def _let_read(store: dist.Store, processes: int) -> None:
    end = time.monotonic() + _SECONDS_TO_READ
    while store.add("read", 0) < processes - 1 and time.monotonic() < end:
        time.sleep(0.05)
