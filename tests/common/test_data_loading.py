"""DataLoader workers: killed with their loader; their failures become user-facing errors."""

import errno
import multiprocessing
import os
import signal
import tempfile
import time
from multiprocessing import resource_sharer
from pathlib import Path

import pytest
import torch

from cloob.common.data_loading import BatchLoader, check_shared_memory, kill_workers_on_exit
from cloob.common.errors import InputError, user_message

LONG = 600.0  # seconds; no test waits for such a task


def fail(kind: type[BaseException]) -> None:
    raise kind("failure")


def kill_self(_: object = None) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


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


@pytest.mark.parametrize("name", ["tmp", 40 * "long"])
def test_workers_leave_no_temporary_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    folder = tmp_path / name
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    with kill_workers_on_exit():
        batches = iter(BatchLoader(FakeDataset(1, 2, 3), torch.stack, [[0], [1], [2]], workers=1))
        assert int(next(batches)) == 1
        assert load_batches(FakeDataset(1, 2, 3, 4), workers=2) == [[1, 2], [3, 4]]
        assert int(next(batches)) == 2  # the sockets of its worker still exist
        sockets = Path(multiprocessing.current_process()._config["tempdir"])  # type: ignore[attr-defined]
        assert any(sockets.iterdir())
    assert not sockets.exists() and list(folder.iterdir()) == []


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


# torch raises from the handler of SIGCHLD: if that interrupts a callback, Python ignores it, and the loader
# notices the dead worker later.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
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


class Failing:
    def __init__(self, error: Exception) -> None:
        self.error = error

    def __getitem__(self, index: int) -> int:
        raise self.error


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (InputError("a.tar: changed; pack it again"), "a.tar: changed; pack it again"),
        (
            OSError(24, "Too many open files", "/x/a b.tar"),
            "/x/a b.tar: Too many open files; raise",
        ),
        (PermissionError(13, "Permission denied", "/x/a.tar"), "/x/a.tar: Permission denied; check owner"),
    ],
    ids=["input", "descriptors", "mode"],
)
def test_error_in_a_loader_worker_keeps_its_message(error: Exception, message: str) -> None:
    with pytest.raises(type(error)) as raised, kill_workers_on_exit():
        list(BatchLoader(Failing(error), list, [[0]], workers=1))
    assert (user_message(raised.value) or "").startswith(message)
