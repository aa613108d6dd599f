"""DataLoader workers that are killed with their loader, and whose failures become user-facing errors."""

import multiprocessing
import os
import shutil
import signal
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from functools import partial
from multiprocessing.queues import Queue
from typing import Any

from torch.utils.data import DataLoader, Dataset

from cloob.common.errors import InputError
from cloob.common.processes import die_with_parent, kill_children_on_exit

# Schedulers and terminals signal all processes of a job. Workers ignore these signals, because the training
# process first finishes its step, for which it needs their batches; it then kills them.
_BLOCKED_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1)
_PREFETCH_FACTOR = 2  # batches per worker
_MAX_SOCKET_PATH = 107  # bytes of a path in Linux's `struct sockaddr_un`
_SHARED_MEMORY = "/dev/shm"
_SHARED_MEMORY_REMEDY = (
    f"use fewer workers, or none, or enlarge {_SHARED_MEMORY} (docker run --shm-size, apptainer --bind)"
)
_MEMORY_REMEDY = f"probably out of memory or {_SHARED_MEMORY}; use fewer workers or request more memory"


class BatchLoader(DataLoader[Any]):
    """Yield `collate([dataset[index] for index in batch])` for each batch, in order, from forked workers.

    As in torch, a dataset with `__getitems__` returns the list for a whole batch. With 0 workers, this
    process loads the batches. `InputError` and `OSError` of `dataset` are raised unchanged. Iterate within
    `kill_workers_on_exit`, or the workers live as long as the iterator.
    """

    def __init__(
        self,
        dataset: Any,
        collate: Callable[[list[Any]], Any],
        batches: Iterable[Any],
        workers: int,
        pin_memory: bool = False,
    ) -> None:
        super().__init__(
            _BatchDataset(dataset, collate),
            batch_size=None,  # an item of `_BatchDataset` is a batch
            sampler=batches,
            num_workers=workers,
            prefetch_factor=_PREFETCH_FACTOR if workers else None,
            collate_fn=_identity,
            pin_memory=pin_memory,
            multiprocessing_context="fork" if workers else None,  # `dataset` and `collate` are not pickled
            worker_init_fn=partial(_init_worker, os.getpid()),
        )

    def __iter__(self) -> Iterator[Any]:  # type: ignore[override]
        """Start the workers."""
        before = signal.pthread_sigmask(signal.SIG_BLOCK, _BLOCKED_SIGNALS)
        try:
            if self.num_workers and "tempdir" not in _process_config():
                _process_config()["tempdir"] = _make_socket_folder()
            batches = super().__iter__()
        except OSError as error:
            raise InputError(
                f"{self.num_workers} loader workers cannot be started ({error.strerror}); "
                f"{_SHARED_MEMORY_REMEDY}"
            ) from None
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)
        return _raise_errors(batches)


@contextmanager
def kill_workers_on_exit() -> Iterator[None]:
    """Kill the workers of all loaders started in the `with` block (or decorated function) when it ends.

    Raises `InputError` if a worker died or shared memory is too small.
    """
    with _socket_folder(), kill_children_on_exit():
        try:
            yield
        except RuntimeError as error:
            if (reason := _describe_worker_failure(str(error))) is None:
                raise
            raise InputError(reason) from None


@contextmanager
def _socket_folder() -> Iterator[None]:
    """Delete the sockets through which the workers of the `with` block send batches.

    `multiprocessing` puts them into one folder per worker, which a killed worker leaves behind, unless its
    parent has a folder for temporary files.
    """
    config = _process_config()
    outer = config.pop("tempdir", None)
    try:
        yield
    finally:
        if folder := config.pop("tempdir", None):
            shutil.rmtree(folder, ignore_errors=True)
        if outer:
            config["tempdir"] = outer


def _make_socket_folder() -> str:
    """A new folder in the temporary directory, or in /tmp if the path of a socket would be too long there."""
    parent = tempfile.gettempdir()
    if len(os.fsencode(parent)) + len("/cloob_12345678/listener-12345678") > _MAX_SOCKET_PATH:
        parent = "/tmp"
    return tempfile.mkdtemp(prefix="cloob_", dir=parent)


def _process_config() -> dict[str, Any]:
    """What child processes inherit from this one."""
    return multiprocessing.current_process()._config  # type: ignore[attr-defined]


def check_shared_memory(batch_bytes: int, workers: int) -> None:
    """Raise `InputError` if the prefetched batches of all workers do not fit into shared memory."""
    try:
        free = shutil.disk_usage(_SHARED_MEMORY).free
    except OSError:  # not mounted; torch raises its own error
        return
    needed = workers * _PREFETCH_FACTOR * batch_bytes
    if needed > free:
        raise InputError(
            f"{_SHARED_MEMORY}: {workers} loader workers need {needed / 1e6:,.0f} MB, {free / 1e6:,.0f} MB "
            f"are free; {_SHARED_MEMORY_REMEDY}"
        )


class _BatchDataset(Dataset[Any]):
    """Returns user-facing errors as items: DataLoader reraises exceptions with their traceback as text."""

    def __init__(self, dataset: Any, collate: Callable[[list[Any]], Any]) -> None:
        self.dataset, self.collate = dataset, collate

    def __getitem__(self, batch: Any) -> Any:
        try:
            if hasattr(self.dataset, "__getitems__"):
                return self.collate(self.dataset.__getitems__(batch))
            return self.collate([self.dataset[index] for index in batch])
        except (InputError, OSError) as error:
            return error


def _raise_errors(batches: Iterator[Any]) -> Iterator[Any]:
    while True:
        try:
            batch = next(batches)
        except StopIteration:
            return
        except (ConnectionError, FileNotFoundError, EOFError) as error:
            if "in DataLoader worker process" in str(error):  # raised by `dataset` or `collate`
                raise
            # Raised by the socket through which a worker sends its batch.
            raise InputError(f"a loader worker exited unexpectedly; {_MEMORY_REMEDY}") from None
        if isinstance(batch, Exception):
            raise batch
        yield batch


def _identity(batch: Any) -> Any:
    return batch


def _init_worker(parent: int, worker: int) -> None:
    die_with_parent(parent, signal.SIGKILL)
    # By default a batch that cannot be sent is dropped with a traceback, and the loader waits forever.
    Queue._on_queue_feeder_error = staticmethod(_exit_worker)  # type: ignore[attr-defined]


def _exit_worker(error: Exception, _: Any) -> None:
    print(f"a loader worker cannot send its batch: {error}", file=sys.stderr, flush=True)
    os._exit(1)


def _describe_worker_failure(message: str) -> str | None:
    """The user-facing message for a RuntimeError of DataLoader or shared memory; None for other errors."""
    is_shared_memory = any(text in message for text in ("Bus error", "shared memory", "</torch_"))
    if is_shared_memory and ("DataLoader worker" in message or "</torch_" in message):
        return f"a loader worker ran out of {_SHARED_MEMORY}; {_SHARED_MEMORY_REMEDY}"
    if message.startswith("DataLoader worker (pid"):
        failure = message.splitlines()[0].split(". ")[0]
        return f"{failure}; {_MEMORY_REMEDY}"
    return None
