"""The learning-rate schedules."""

import math

import pytest

from cloob.train.schedule import learning_rate, warm_up_problem
from tests.helpers.recipes import recipe


def test_the_warm_up_is_linear_from_zero_to_the_peak():
    warm_up = recipe(warmup_steps=10, learning_rate=1.0)
    assert [learning_rate(step, 100, warm_up) for step in (0, 1, 5, 10)] == pytest.approx([0, 0.1, 0.5, 1.0])


def test_cosine_decays_over_the_steps_after_the_warm_up():
    cosine = recipe(warmup_steps=10, learning_rate=1.0)
    for step in range(10, 110):
        expected = math.cos((step - 10) / 100 * math.pi / 2) ** 2  # the half-angle form of (1 + cos) / 2
        assert learning_rate(step, 110, cosine) == pytest.approx(expected, abs=1e-12)


def test_restarts_return_to_the_peak_in_every_cycle():
    restarts = recipe(warmup_steps=0, learning_rate=1.0, schedule="cosine_restarts", cycles=4)
    rates = [learning_rate(step, 400, restarts) for step in range(400)]
    assert [rates[start] for start in (0, 100, 200, 300)] == pytest.approx([1.0] * 4)
    assert max(rates[99::100]) < 1e-3
    assert rates[:100] == pytest.approx(rates[100:200])


def test_a_run_may_be_shorter_than_its_warm_up():
    assert learning_rate(3, 4, recipe(warmup_steps=10, learning_rate=1.0)) == pytest.approx(0.3)


def test_a_warm_up_that_never_reaches_its_peak_is_described():
    assert warm_up_problem(99, 10, 10) is None
    assert learning_rate(99, 100, recipe(warmup_steps=99, learning_rate=1.0)) == 1.0
    assert learning_rate(99, 100, recipe(warmup_steps=100, learning_rate=1.0)) < 1.0
    assert warm_up_problem(100, 100, 1).startswith("100, but the run has only 100 steps (1 epoch of 100); ")
    assert warm_up_problem(20_000, 19, 128) == (
        "20,000, but the run has only 2,432 steps (128 epochs of 19); the learning rate would never reach its"
        " peak; reduce it"
    )
