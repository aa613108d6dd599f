"""Rendezvous: the processes connect at MASTER_ADDR:MASTER_PORT and verify that all belong to one run."""

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

# Launchers start all processes at once, but importing torch from a slow file system takes minutes.
_TIMEOUT = timedelta(minutes=10)
_GRACE = timedelta(minutes=1)  # so that torch's own timeout, whose message is more specific, expires first
_VERDICT_SECONDS = 10.0  # for the others to read the verdict before the process that hosts the store exits
# Launcher variables that distinguish two starts of the same run: job, step and torchrun instance.
_LAUNCHER_VARIABLES = {
    "job": "SLURM_JOB_ID",
    "step": "SLURM_STEP_ID",
    "hosts": "SLURM_STEP_NODELIST",
    "torchrun": "TORCHELASTIC_RUN_ID",
    "processes": "WORLD_SIZE",
}

RunIdentity = Mapping[str, str]
T = TypeVar("T")


def shared_store(rank: int, world_size: int, identity: RunIdentity) -> dist.Store:
    """Connect to the other processes and return the key-value store that all share.

    `identity` describes the run; the launcher's variables are added to it. Raises `InputError` if the address
    or the port cannot be used, if a process does not connect in time, or if the identities differ; then all
    processes raise.
    """
    host, port = os.environ.get("MASTER_ADDR"), os.environ.get("MASTER_PORT")
    if not host or not port or not port.isdecimal() or int(port) == 0:
        raise InputError(
            f"RANK is set, as for one of several processes, but MASTER_ADDR is {host!r} and MASTER_PORT "
            f"is {port!r}; set both, or unset RANK"
        )
    endpoint = f"{host}:{port}"
    _check_host(host)
    hosts_store = rank == 0 and os.environ.get("TORCHELASTIC_USE_AGENT_STORE") != "True"
    if hosts_store:
        _check_port(endpoint, int(port))
    identity = dict(identity) | {
        key: os.environ[name] for key, name in _LAUNCHER_VARIABLES.items() if name in os.environ
    }

    def connect() -> dist.Store:
        store: dist.Store
        store, _, _ = next(dist.rendezvous("env://", timeout=_TIMEOUT))
        _compare_identities(dist.PrefixStore("identity", store), rank, world_size, identity, endpoint)
        return store

    try:
        return call_with_timeout(connect)
    except (dist.DistError, ValueError) as error:
        reason = str(error).splitlines()[0]
    except TimeoutError:
        reason = "no response"
    raise InputError(
        f"{endpoint}: process {rank} of {world_size} cannot connect to the others ({reason}); did all start? "
        "Does another program use the port?"
    )


def call_with_timeout(function: Callable[[], T]) -> T:
    """`function()`; raises `TimeoutError` if it exceeds the timeout of the rendezvous.

    It runs in a thread, because torch waits forever for a peer that accepts but does not answer, and ignores
    Ctrl-C meanwhile.
    """
    result: Future[T] = Future()

    def run() -> None:
        try:
            result.set_result(function())
        except Exception as error:
            result.set_exception(error)

    Thread(target=run, daemon=True).start()
    return result.result((_TIMEOUT + _GRACE).total_seconds())


def _check_host(host: str) -> None:
    try:
        socket.getaddrinfo(host, None)
    except OSError as error:
        raise InputError(
            f"MASTER_ADDR: {host} cannot be resolved ({error.strerror}); use the first node"
        ) from None


def _check_port(endpoint: str, port: int) -> None:
    """Raise a one-line error for an unusable port: torch's is a traceback below several warnings."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("", port))
        except (OSError, OverflowError) as error:
            if isinstance(error, OSError) and error.errno not in (errno.EADDRINUSE, errno.EACCES):
                return
            reason = error.strerror if isinstance(error, OSError) else "not a port number"
            raise InputError(f"MASTER_PORT: {endpoint} cannot be used ({reason}); set another") from None


def _compare_identities(
    store: dist.Store, rank: int, world_size: int, identity: RunIdentity, endpoint: str
) -> None:
    """Rank 0 compares its identity with every other rank's (common keys only), and publishes the verdict."""
    attempt = store.add(f"arrived/{rank}", 1)  # a rank that connects again gets a higher number
    store.set(f"{rank}/{attempt}", json.dumps(identity))
    if rank == 0 and attempt == 1:
        verdict = ""
        for other in range(1, world_size):
            _wait_for(store, f"{other}/1", f"{endpoint}: process {other} of {world_size} did not connect")
            other_identity = json.loads(store.get(f"{other}/1"))
            different = [key for key in identity if other_identity.get(key, identity[key]) != identity[key]]
            if different:
                listed = ", ".join(f"{key} {identity[key]} and {other_identity[key]}" for key in different)
                verdict = (
                    f"{endpoint}: processes of two runs connected here ({listed}); set another MASTER_PORT "
                    "for one of them"
                )
                break
        store.set("verdict", verdict)
        if verdict:
            _wait_for_readers(store, world_size)
            raise InputError(verdict)
        return
    _wait_for(store, "verdict", f"{endpoint}: process 0 of {world_size} did not compare the runs")
    if verdict := store.get("verdict").decode():
        with suppress(dist.DistError):  # process 0 may have exited
            store.add("read", 1)
        raise InputError(verdict)
    if attempt > 1:
        raise InputError(
            f"{endpoint}: process {rank} of another run is connected already; set another MASTER_PORT"
        )


def _wait_for(store: dist.Store, key: str, failure: str) -> None:
    try:
        store.wait([key], _TIMEOUT)
    except dist.DistStoreError:
        minutes = _TIMEOUT.total_seconds() / 60
        raise InputError(f"{failure} within {minutes:.0f} minutes; see its log") from None


def _wait_for_readers(store: dist.Store, world_size: int) -> None:
    end = time.monotonic() + _VERDICT_SECONDS
    while store.add("read", 0) < world_size - 1 and time.monotonic() < end:
        time.sleep(0.05)
