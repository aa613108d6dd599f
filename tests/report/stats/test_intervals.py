"""Confidence intervals over seeds, compared with SciPy."""

import math

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from cloob.report.stats.intervals import aggregate_seeds, t_interval


@pytest.mark.parametrize("seeds", [2, 5, 30])
def test_interval_equals_that_of_scipys_t_test(seeds: int) -> None:
    values = np.random.default_rng(seeds).normal(3, 2, seeds)
    mean, low, high = t_interval(values)
    expected = stats.ttest_1samp(values, 0).confidence_interval(0.95)
    assert mean == pytest.approx(values.mean())
    assert (low, high) == pytest.approx(tuple(expected))


def test_single_value_has_no_interval() -> None:
    mean, low, high = t_interval([0.5])
    assert mean == 0.5
    assert math.isnan(low)
    assert math.isnan(high)


def test_nan_is_ignored() -> None:
    assert t_interval([1.0, math.nan, 3.0]) == t_interval([1.0, 3.0])


def test_single_seed_keeps_the_interval_of_its_row() -> None:
    data = pd.DataFrame(
        [("a", 0.5, 0.4, 0.7), ("b", 0.2, 0.1, 0.3), ("b", 0.4, 0.3, 0.5)],
        columns=["objective", "value", "low", "high"],
    )
    single, two = aggregate_seeds(data, ["objective"]).itertuples(index=False)
    assert tuple(single) == ("a", 0.5, 0.4, 0.7, 1)
    assert (two.mean, two.low, two.high) == pytest.approx(t_interval([0.2, 0.4]))
    assert two.seeds == 2
