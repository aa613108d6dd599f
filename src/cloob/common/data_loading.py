"""DataLoader workers: none outlives its loader, and each failure of theirs is one line."""

import os
import shutil
import signal
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from functools import partial
from multiprocessing.queues import Queue
from typing import Any

from torch.utils.data import DataLoader, Dataset

from cloob.common.errors import InputError
from cloob.common.processes import die_with_parent, kill_children_on_exit

# Schedulers and terminals signal all processes of a job, but the workers have to feed the step that the
# training process finishes first; that process kills them.
_BLOCKED = (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1)
_PREFETCHED = 2  # batches per worker
_SHARED_MEMORY = "/dev/shm"
_MORE_SHARED_MEMORY = (
    f"use fewer workers, or none, or enlarge {_SHARED_MEMORY} (docker run --shm-size, apptainer --bind)"
)
_LESS_MEMORY = f"is memory or {_SHARED_MEMORY} short? Use fewer workers or ask for more"


class BatchLoader(DataLoader[Any]):
    """`collate([items[index] for index in batch])` for each batch, in order, by forked processes.

    `workers` of them; with 0, by this process. Raises `InputError` and `OSError` as `items` raises them.
    Iterate within `kill_workers_on_exit`, or the workers live as long as the iterator.
    """

    def __init__(
        self,
        items: Any,
        collate: Callable[[list[Any]], Any],
        batches: Iterable[Any],
        workers: int,
        pin_memory: bool = False,
    ) -> None:
        super().__init__(
            _Batches(items, collate),
            batch_size=None,  # an item of `_Batches` is a batch
            sampler=batches,
            num_workers=workers,
            prefetch_factor=_PREFETCHED if workers else None,
            collate_fn=_unchanged,
            pin_memory=pin_memory,
            multiprocessing_context="fork" if workers else None,  # `items` and `collate` are not pickled
            worker_init_fn=partial(_begin, os.getpid()),
        )

    def __iter__(self) -> Iterator[Any]:  # type: ignore[override]
        """Start the workers."""
        before = signal.pthread_sigmask(signal.SIG_BLOCK, _BLOCKED)
        try:
            batches = super().__iter__()
        except OSError as error:
            raise InputError(
                f"{self.num_workers} loader workers cannot be started ({error.strerror}); "
                f"{_MORE_SHARED_MEMORY}"
            ) from None
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)
        return _raising(batches)


@contextmanager
def kill_workers_on_exit() -> Iterator[None]:
    """Kill the workers of all loaders that the block (or the decorated function) started, whatever ends it.

    Raises `InputError` where a worker was killed before or shared memory is too small.
    """
    with kill_children_on_exit():
        try:
            yield
        except RuntimeError as error:
            if (reason := _of_a_worker(str(error))) is None:
                raise
            raise InputError(reason) from None


def check_shared_memory(batch_bytes: int, workers: int) -> None:
    """Raise `InputError` where the batches that so many workers hold ahead do not fit into shared memory."""
    try:
        free = shutil.disk_usage(_SHARED_MEMORY).free
    except OSError:  # not mounted: torch says what it lacks
        return
    needed = workers * _PREFETCHED * batch_bytes
    if needed > free:
        raise InputError(
            f"{_SHARED_MEMORY}: {workers} loader workers need {needed / 1e6:,.0f} MB, {free / 1e6:,.0f} MB "
            f"are free; {_MORE_SHARED_MEMORY}"
        )


class _Batches(Dataset[Any]):
    """Returns the errors that are meant for the user: DataLoader would reraise them as a traceback's text."""

    def __init__(self, items: Any, collate: Callable[[list[Any]], Any]) -> None:
        self.items, self.collate = items, collate

    def __getitem__(self, indices: Iterable[Any]) -> Any:
        try:
            return self.collate([self.items[index] for index in indices])
        except (InputError, OSError) as error:
            return error


def _raising(batches: Iterator[Any]) -> Iterator[Any]:
    while True:
        try:
            batch = next(batches)
        except StopIteration:
            return
        except (ConnectionError, FileNotFoundError, EOFError) as error:
            if "in DataLoader worker process" in str(error):  # of `items` or `collate`
                raise
            # Of the socket through which a worker hands over a batch.
            raise InputError(f"a loader worker exited unexpectedly; {_LESS_MEMORY}") from None
        if isinstance(batch, Exception):
            raise batch
        yield batch


def _unchanged(batch: Any) -> Any:
    return batch


def _begin(parent: int, worker: int) -> None:
    die_with_parent(parent, signal.SIGKILL)
    # A batch that cannot be sent would be dropped with a traceback, and the loader would wait for it.
    Queue._on_queue_feeder_error = staticmethod(_end_worker)  # type: ignore[assignment]


def _end_worker(error: Exception, _: Any) -> None:
    print(f"a loader worker cannot send its batch: {error}", file=sys.stderr, flush=True)
    os._exit(1)


def _of_a_worker(said: str) -> str | None:
    """What a RuntimeError of DataLoader or of shared memory says of a worker; None for any other error."""
    is_memory = any(words in said for words in ("Bus error", "shared memory", "</torch_"))
    if is_memory and ("DataLoader worker" in said or "</torch_" in said):
        return f"a loader worker has no room in {_SHARED_MEMORY}; {_MORE_SHARED_MEMORY}"
    if said.startswith("DataLoader worker (pid"):
        failure = said.splitlines()[0].split(". ")[0]
        return f"{failure}; {_LESS_MEMORY}"
    return None
