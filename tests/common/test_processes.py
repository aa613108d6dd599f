"""Pools of processes and loader workers: none outlives what it works for, whatever fails."""

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

LONG = 600.0  # seconds: a test that waits for such a task has failed


def fail(kind: type[BaseException]) -> None:
    raise kind("a fault")


def kill_self(_: object = None) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def sleep_or_fail(seconds: float) -> float:
    if seconds < 0:
        raise ValueError("a fault")
    time.sleep(seconds)
    return seconds


@pytest.mark.parametrize("kind", [ValueError, KeyboardInterrupt, InputError])
def test_a_pool_whose_user_fails_is_killed_though_its_tasks_are_long(kind: type[BaseException]) -> None:
    with pytest.raises(kind), process_pool(2) as pool:
        pool.submit(time.sleep, LONG)
        pool.submit(sleep_or_fail, 0).result()
        raise kind("a fault")
    assert multiprocessing.active_children() == []


def test_a_killed_worker_of_a_pool_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    spawn = ProcessPoolExecutor._spawn_process

    def spawn_slowly(pool: ProcessPoolExecutor) -> None:
        time.sleep(0.2)  # so that the pool's own thread is first
        spawn(pool)

    monkeypatch.setattr(ProcessPoolExecutor, "_spawn_process", spawn_slowly)
    with pytest.raises(InputError, match="one of 2 worker processes was killed"), process_pool(2) as pool:
        pool.submit(time.sleep, LONG)
        pool.submit(kill_self).result()
    assert multiprocessing.active_children() == []


def test_a_task_of_the_shards_that_fails_ends_the_others() -> None:
    with pytest.raises(ValueError, match="a fault"):
        list(parallel_map(sleep_or_fail, [-1, LONG, LONG], 2, 3, "sleeping"))
    assert multiprocessing.active_children() == []


def test_who_takes_results_may_fail() -> None:
    with (
        pytest.raises(KeyError),
        closing(parallel_map(sleep_or_fail, [0, LONG, LONG], 2, 3, "sleeping")) as results,
    ):
        raise KeyError(next(results))
    assert multiprocessing.active_children() == []


def test_a_killed_process_takes_its_pool_along() -> None:
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
        assert time.monotonic() < end, "its workers go on"
        time.sleep(0.05)


class Items:
    """Numbers; what is no number is raised or called."""

    def __init__(self, *items: object) -> None:
        self.items = items

    def __getitem__(self, index: int) -> torch.Tensor:
        item = self.items[index]
        if isinstance(item, Exception):
            raise item
        return torch.tensor(item() if callable(item) else item)


@kill_workers_on_exit()
def loaded(items: Items, workers: int) -> list[list[int]]:
    batches = [[0, 1], [2, 3]]
    return [batch.tolist() for batch in BatchLoader(items, torch.stack, batches, workers)]


@pytest.mark.parametrize("workers", [0, 2])
def test_batches_come_in_order(workers: int) -> None:
    assert loaded(Items(1, 2, 3, 4), workers) == [[1, 2], [3, 4]]
    assert multiprocessing.active_children() == []


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize(
    "error", [InputError("a.jpg: damaged; get it again"), OSError(errno.EIO, "Input/output error", "a.tar")]
)
def test_an_error_of_a_worker_is_the_error_itself(workers: int, error: Exception) -> None:
    with pytest.raises(type(error)) as raised:
        loaded(Items(1, 2, 3, error), workers)
    assert str(raised.value) == str(error)
    assert multiprocessing.active_children() == []


@pytest.mark.parametrize("item", [kill_self, lambda: os._exit(3)])
def test_a_worker_that_dies_is_one_line(item: object) -> None:
    died = (
        r"DataLoader worker \(pid.*\) (is killed by signal: Killed|exited unexpectedly).*; is memory .* short"
    )
    with pytest.raises(InputError, match=died) as raised:
        loaded(Items(1, 2, item, 4), 2)
    assert "\n" not in str(raised.value)
    assert multiprocessing.active_children() == []


def stop_handing_over() -> None:
    """What is left of a worker while it dies: the socket that its batches are fetched from is gone first."""
    time.sleep(0.5)  # its first batch is announced
    resource_sharer._resource_sharer._listener.close()  # type: ignore[attr-defined]
    time.sleep(LONG)


def test_a_worker_that_dies_while_its_batch_is_fetched_is_one_line() -> None:
    with (
        pytest.raises(InputError, match="a loader worker exited unexpectedly; is memory"),
        kill_workers_on_exit(),
    ):
        batches = iter(BatchLoader(Items(1, stop_handing_over), torch.stack, [[0], [1]], 1))
        time.sleep(1.5)
        next(batches)
    assert multiprocessing.active_children() == []


@pytest.mark.parametrize("kind", [EOFError, ZeroDivisionError])
def test_an_error_that_is_a_defect_keeps_its_traceback(kind: type[Exception]) -> None:
    with pytest.raises(kind, match="a fault"):
        loaded(Items(1, 2, kind("a fault"), 4), 2)


def test_a_worker_that_hangs_is_killed_with_its_loader() -> None:
    begun = time.monotonic()
    with pytest.raises(KeyError), kill_workers_on_exit():
        iter(BatchLoader(Items(1, lambda: time.sleep(LONG)), torch.stack, [[1]], 1))
        fail(KeyError)
    assert time.monotonic() - begun < LONG / 10
    assert multiprocessing.active_children() == []


def test_shared_memory_is_looked_at_before_it_fills_up() -> None:
    check_shared_memory(1, workers=2)
    check_shared_memory(1 << 60, workers=0)
    with pytest.raises(InputError, match=r"/dev/shm: 2 loader workers need .* MB, .* are free; use fewer"):
        check_shared_memory(1 << 60, workers=2)


def test_without_git_there_is_no_commit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    assert current_commit() is None
