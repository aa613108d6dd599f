"""Estimates of means over seeds: intervals compared with SciPy, ranges, and their bounds."""

import math

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from cloob.report.stats.intervals import (
    FRACTION,
    INTERVAL,
    NO_INTERVAL,
    PERCENT,
    RANGE,
    Estimate,
    aggregate_seeds,
    estimate,
)


@pytest.mark.parametrize("seeds", [3, 5, 30])
def test_interval_without_bounds_equals_that_of_scipys_t_test(seeds: int) -> None:
    values = np.random.default_rng(seeds).normal(3, 2, seeds)
    result = estimate(values)
    expected = stats.ttest_1samp(values, 0).confidence_interval(0.95)
    assert (result.kind, result.seeds) == (INTERVAL, seeds)
    assert result.mean == pytest.approx(values.mean())
    assert (result.low, result.high) == pytest.approx(tuple(expected))


def test_interval_with_bounds_is_computed_on_the_logit_scale() -> None:
    values = [0.90, 0.96, 0.99]
    result = estimate(values, FRACTION)
    half = stats.t.ppf(0.975, 2) * np.std(values, ddof=1) / 3**0.5 / (0.95 * 0.05)
    ends = [1 / (1 + math.exp(-(math.log(0.95 / 0.05) + side * half))) for side in (-1, 1)]
    assert [result.mean, result.low, result.high] == pytest.approx([0.95, *ends])
    # The plain interval would end at 1.06.
    assert estimate(values).high > 1 > result.high
    in_percent = estimate([100 * value for value in values], PERCENT)
    assert in_percent.low == pytest.approx(100 * result.low)


def test_interval_with_bounds_hardly_differs_where_the_bounds_are_far() -> None:
    values = [0.49, 0.50, 0.51]
    plain, bounded = estimate(values), estimate(values, FRACTION)
    assert (bounded.low, bounded.high) == pytest.approx((plain.low, plain.high), abs=1e-4)


@pytest.mark.parametrize("value", [0.0, 0.3, 1.0])
def test_equal_values_have_an_interval_without_width(value: float) -> None:
    result = estimate([value] * 3, FRACTION)
    assert (result.mean, result.low, result.high) == pytest.approx((value, value, value))


def test_two_values_have_their_range_and_one_nothing() -> None:
    assert estimate([0.5, 0.2], FRACTION) == Estimate(0.35, 0.2, 0.5, RANGE, 2)
    single, none = estimate([0.5]), estimate([])
    assert (single.mean, single.kind, single.seeds) == (0.5, NO_INTERVAL, 1)
    assert math.isnan(single.low) and math.isnan(single.high)
    assert math.isnan(none.mean) and none.seeds == 0


def test_nan_is_ignored() -> None:
    assert estimate([1.0, math.nan, 3.0]) == estimate([1.0, 3.0])


def test_single_seed_keeps_the_interval_of_its_row() -> None:
    nan = math.nan
    data = pd.DataFrame(
        [("a", 0.5, 0.4, 0.7), ("b", 0.2, nan, nan), ("b", 0.4, nan, nan), ("c", 0.3, nan, nan)],
        columns=["objective", "value", "low", "high"],
    )
    single, two, without = aggregate_seeds(data, ["objective"]).itertuples(index=False)
    assert tuple(single) == ("a", 0.5, 0.4, 0.7, INTERVAL, 1)
    assert tuple(two) == pytest.approx(("b", 0.3, 0.2, 0.4, RANGE, 2))
    assert (without.mean, without.kind) == (0.3, NO_INTERVAL)
