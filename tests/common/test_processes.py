"""Process pools and loader workers: no child outlives its parent or pool, whatever fails."""

import errno
import multiprocessing
import os
import signal
import subprocess
import sys
import time
from concurrent.futures import ProcessPoolExecutor
from contextlib import closing
from multiprocessing import resource_sharer
from pathlib import Path

import pytest
import torch

from cloob.common.data_loading import BatchLoader, check_shared_memory, kill_workers_on_exit
from cloob.common.errors import InputError
from cloob.common.pool import parallel_map
from cloob.common.processes import process_pool
from cloob.common.provenance import current_commit

LONG = 600.0  # seconds; no test waits for such a task


def fail(kind: type[BaseException]) -> None:
    raise kind("failure")


def kill_self(_: object = None) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def sleep_or_fail(seconds: float) -> float:
    if seconds < 0:
        raise ValueError("failure")
    time.sleep(seconds)
    return seconds


@pytest.mark.parametrize("kind", [ValueError, KeyboardInterrupt, InputError])
def test_pool_is_killed_when_the_with_block_raises(kind: type[BaseException]) -> None:
    with pytest.raises(kind), process_pool(2) as pool:
        pool.submit(time.sleep, LONG)
        pool.submit(sleep_or_fail, 0).result()
        raise kind("failure")
    assert multiprocessing.active_children() == []


def test_killed_pool_worker_raises_input_error(monkeypatch: pytest.MonkeyPatch) -> None:
    spawn = ProcessPoolExecutor._spawn_process

    def spawn_slowly(pool: ProcessPoolExecutor) -> None:
        time.sleep(0.2)  # so that the executor's thread starts watching first
        spawn(pool)

    monkeypatch.setattr(ProcessPoolExecutor, "_spawn_process", spawn_slowly)
    with pytest.raises(InputError, match="one of 2 worker processes was killed"), process_pool(2) as pool:
        pool.submit(time.sleep, LONG)
        pool.submit(kill_self).result()
    assert multiprocessing.active_children() == []


def test_failing_task_of_parallel_map_kills_the_other_workers() -> None:
    with pytest.raises(ValueError, match="failure"):
        list(parallel_map(sleep_or_fail, [-1, LONG, LONG], 2, 3, "sleeping"))
    assert multiprocessing.active_children() == []


def test_failing_consumer_of_parallel_map_kills_the_workers() -> None:
    with (
        pytest.raises(KeyError),
        closing(parallel_map(sleep_or_fail, [0, LONG, LONG], 2, 3, "sleeping")) as results,
    ):
        raise KeyError(next(results))
    assert multiprocessing.active_children() == []


def test_pool_workers_die_with_their_killed_parent() -> None:
    script = "import os, time\nfrom cloob.common.processes import process_pool\n"
    script += "with process_pool(2) as pool:\n"
    script += "    print(*{pool.submit(os.getpid).result() for _ in range(20)}, flush=True)\n"
    script += "    time.sleep(600)"
    with subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        workers = process.stdout.readline().split()
        process.kill()
    assert workers
    end = time.monotonic() + 20
    while any(Path(f"/proc/{pid}/stat").exists() for pid in workers):
        assert time.monotonic() < end, "workers are still running"
        time.sleep(0.05)


class FakeDataset:
    """Returns numbers; exceptions are raised, functions called."""

    def __init__(self, *items: object) -> None:
        self.items = items

    def __getitem__(self, index: int) -> torch.Tensor:
        item = self.items[index]
        if isinstance(item, Exception):
            raise item
        return torch.tensor(item() if callable(item) else item)


@kill_workers_on_exit()
def load_batches(dataset: FakeDataset, workers: int) -> list[list[int]]:
    batches = [[0, 1], [2, 3]]
    return [batch.tolist() for batch in BatchLoader(dataset, torch.stack, batches, workers)]


@pytest.mark.parametrize("workers", [0, 2])
def test_batches_are_in_order(workers: int) -> None:
    assert load_batches(FakeDataset(1, 2, 3, 4), workers) == [[1, 2], [3, 4]]
    assert multiprocessing.active_children() == []


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize(
    "error",
    [InputError("a.jpg: damaged; download it again"), OSError(errno.EIO, "Input/output error", "a.tar")],
)
def test_user_facing_error_of_a_worker_is_reraised_unchanged(workers: int, error: Exception) -> None:
    with pytest.raises(type(error)) as raised:
        load_batches(FakeDataset(1, 2, 3, error), workers)
    assert str(raised.value) == str(error)
    assert multiprocessing.active_children() == []


@pytest.mark.parametrize("item", [kill_self, lambda: os._exit(3)])
def test_dead_worker_raises_input_error(item: object) -> None:
    message = (
        r"DataLoader worker \(pid.*\) (is killed by signal: Killed|exited unexpectedly).*; probably out of"
    )
    with pytest.raises(InputError, match=message) as raised:
        load_batches(FakeDataset(1, 2, item, 4), 2)
    assert "\n" not in str(raised.value)
    assert multiprocessing.active_children() == []


def stop_sending() -> None:
    """Simulate a dying worker: the socket from which its batches are read is closed first."""
    time.sleep(0.5)  # until the first batch is announced
    resource_sharer._resource_sharer._listener.close()  # type: ignore[attr-defined]
    time.sleep(LONG)


def test_worker_that_dies_while_sending_a_batch_raises_input_error() -> None:
    with (
        pytest.raises(InputError, match="a loader worker exited unexpectedly; probably out of memory"),
        kill_workers_on_exit(),
    ):
        batches = iter(BatchLoader(FakeDataset(1, stop_sending), torch.stack, [[0], [1]], 1))
        time.sleep(1.5)
        next(batches)
    assert multiprocessing.active_children() == []


@pytest.mark.parametrize("kind", [EOFError, ZeroDivisionError])
def test_unexpected_error_of_a_worker_keeps_its_type(kind: type[Exception]) -> None:
    with pytest.raises(kind, match="failure"):
        load_batches(FakeDataset(1, 2, kind("failure"), 4), 2)


def test_hanging_worker_is_killed() -> None:
    started = time.monotonic()
    with pytest.raises(KeyError), kill_workers_on_exit():
        iter(BatchLoader(FakeDataset(1, lambda: time.sleep(LONG)), torch.stack, [[1]], 1))
        fail(KeyError)
    assert time.monotonic() - started < LONG / 10
    assert multiprocessing.active_children() == []


def test_insufficient_shared_memory_is_detected_in_advance() -> None:
    check_shared_memory(1, workers=2)
    check_shared_memory(1 << 60, workers=0)
    with pytest.raises(InputError, match=r"/dev/shm: 2 loader workers need .* MB, .* are free; use fewer"):
        check_shared_memory(1 << 60, workers=2)


def test_current_commit_is_none_without_git(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    assert current_commit() is None
