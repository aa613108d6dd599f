"""Intervals of single runs: from the deviation between seeds of other runs, and from the test images."""

import math

import pandas as pd
import pytest
from scipy import stats

from cloob.report.stats.single_runs import add_intervals

COLUMNS = ["run", "set", "value", "image_low", "image_high"]
SEVERAL = [("a", "x", value, None, None) for value in (0.18, 0.20, 0.22)]
SINGLE = ("b", "x", 0.5, 0.48, 0.52)


def with_intervals(*rows: tuple) -> pd.DataFrame:
    data = pd.DataFrame(rows, columns=COLUMNS).astype({"image_low": float, "image_high": float})
    return add_intervals(data, ["run"], ["set"])


def test_both_variances_are_added_on_the_logit_scale() -> None:
    *several, single = with_intervals(*SEVERAL, SINGLE).itertuples()
    assert all(math.isnan(row.low) and math.isnan(row.high) for row in several)
    of_seeds = (0.02 / (0.2 * 0.8)) ** 2
    of_images = (0.04 / (2 * 1.959964) / (0.5 * 0.5)) ** 2
    degrees = 2 * ((of_seeds + of_images) / of_seeds) ** 2
    half = stats.t.ppf(0.975, degrees) * (of_seeds + of_images) ** 0.5
    ends = [1 / (1 + math.exp(-side * half)) for side in (-1, 1)]
    assert [single.low, single.high] == pytest.approx(ends, rel=1e-6)


def test_deviation_between_seeds_is_pooled_over_the_runs_of_a_test_set() -> None:
    others = [("c", "x", value, None, None) for value in (0.4, 0.5, 0.5, 0.6)]
    single = with_intervals(*SEVERAL, *others, SINGLE).iloc[-1]
    logit_deviation = 0.08164966 / 0.25
    pooled = (2 * (0.02 / 0.16) ** 2 + 3 * logit_deviation**2) / 5
    of_images = (0.04 / (2 * 1.959964) / 0.25) ** 2
    degrees = 5 * ((pooled + of_images) / pooled) ** 2
    half = stats.t.ppf(0.975, degrees) * (pooled + of_images) ** 0.5
    assert single.high == pytest.approx(1 / (1 + math.exp(-half)), rel=1e-6)


def test_the_same_seeds_at_two_epochs_count_once_in_the_degrees_of_freedom() -> None:
    rows = [(*row, epoch) for epoch in (1, 2) for row in SEVERAL] + [(*SINGLE, 1)]
    data = pd.DataFrame(rows, columns=[*COLUMNS, "epoch"]).astype({"image_low": float, "image_high": float})
    with_epochs = add_intervals(data, ["run"], ["set"], ["epoch"]).iloc[-1]
    [*_, expected] = with_intervals(*SEVERAL, SINGLE).itertuples()
    assert [with_epochs.low, with_epochs.high] == pytest.approx([expected.low, expected.high])


@pytest.mark.parametrize(
    "rows",
    [
        [SINGLE],
        [*SEVERAL[:2], SINGLE],
        [*SEVERAL, ("b", "another set", 0.5, 0.48, 0.52)],
        [*SEVERAL, ("b", "x", 0.5, None, None)],
        [*SEVERAL, ("b", "x", 1.0, 1.0, 1.0)],
    ],
    ids=["no other run", "two seeds", "another test set", "no image interval", "accuracy of 100%"],
)
def test_without_either_source_there_is_no_interval(rows: list[tuple]) -> None:
    assert with_intervals(*rows)[["low", "high"]].isna().all(axis=None)
