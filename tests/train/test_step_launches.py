"""A step of several processes keeps within its limits of launches, collectives and reads."""

import pytest

from benchmarks.step_launches import StepCounts, count_step
from tests.helpers import forked  # noqa: F401 # prepares the fork server, which has imported torch

MAX_COLLECTIVES = {"clip": 6, "cloob": 9}  # besides the slices of the gradient
MICRO_BATCHES = 2


@pytest.fixture(scope="module", params=MAX_COLLECTIVES)
def step(request: pytest.FixtureRequest, model: str) -> tuple[str, StepCounts]:
    """An objective, and the counts of its step in two processes with gradient caching."""
    return request.param, count_step(request.param, 2, MICRO_BATCHES, model, "forkserver")


def test_collectives_of_a_step_are_few(step: tuple[str, StepCounts]) -> None:
    objective, counts = step
    assert 1 < counts.collectives <= MAX_COLLECTIVES[objective]
    assert 1 < counts.slices <= 16


def test_the_host_reads_the_device_once_per_step(step: tuple[str, StepCounts]) -> None:
    assert step[1].reads == 1


def test_batchnorm_statistics_need_few_launches_whatever_the_number_of_layers(
    step: tuple[str, StepCounts],
) -> None:
    assert MICRO_BATCHES < step[1].statistics_launches <= 10
