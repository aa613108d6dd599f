"""`parallel_map`: no worker outlives a failure."""

import multiprocessing
import time
from contextlib import closing

import pytest

from cloob.common.pool import parallel_map

LONG = 600.0  # seconds; no test waits for such a task


def sleep_or_fail(seconds: float) -> float:
    if seconds < 0:
        raise ValueError("failure")
    time.sleep(seconds)
    return seconds


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
