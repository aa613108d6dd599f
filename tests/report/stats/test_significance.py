"""Significance tests, compared with the enumeration of all signs and resamples."""

import itertools

import numpy as np
import pandas as pd
import pytest
from scipy.stats import rankdata

from cloob.report.stats.significance import compare, holm


def enumerated_p(differences: list[float]) -> float:
    """The fraction of all sign patterns whose positive rank sum is at least the observed one."""
    nonzero = np.array([difference for difference in differences if difference])
    if not len(nonzero):
        return 1.0
    ranks = rankdata(abs(nonzero))
    observed = ranks[nonzero > 0].sum()
    patterns = itertools.product([False, True], repeat=len(nonzero))
    return float(np.mean([ranks[np.array(signs)].sum() >= observed - 1e-9 for signs in patterns]))


def series(*values: float) -> pd.Series:
    return pd.Series(values, index=range(1, len(values) + 1), dtype=float)


@pytest.mark.parametrize(
    "differences",
    [
        [1, 2, 3, 4, 5],
        [1, 1, 1, 1, 1],
        [2, 2, 1, -1, 5],
        [0, 1, 2, -3, 4],
        [0, 0, 0, 0, 0],
        [-1, -2, -3, -4, -5],
        [0.3, -0.1],
        [3, -1, 4, -1, 5, -9, 2, 6],
    ],
)
def test_p_equals_the_enumeration_of_all_signs(differences: list[float]) -> None:
    result = compare(series(*differences), series(*[0] * len(differences)))
    assert result.p == pytest.approx(enumerated_p(differences), abs=1e-12)
    below = compare(series(*differences), series(*[0] * len(differences)), sign=-1)
    assert below.p == pytest.approx(enumerated_p([-difference for difference in differences]), abs=1e-12)
    assert below.effect == result.effect == pytest.approx(np.mean(differences))
    assert result.min_attainable_p == 0.5 ** len(differences)


def test_differences_that_are_equal_up_to_rounding_have_equal_ranks() -> None:
    # In floating point 0.3 - 0.2 < 0.2 - 0.1: without rounding these are not ties.
    result = compare(series(0.2, 0.3, 0.1), series(0.1, 0.2, 0.2))
    assert result.p == enumerated_p([1, 1, -1])


def test_interval_is_the_percentile_bootstrap_of_the_mean() -> None:
    differences = [0.4, 1.0, 0.7, -0.2, 1.5]
    result = compare(series(*differences), series(0, 0, 0, 0, 0))
    means = [np.mean(sample) for sample in itertools.product(differences, repeat=5)]
    assert [result.low, result.high] == pytest.approx(np.percentile(means, [2.5, 97.5]), abs=0.04)
    assert compare(series(*differences), series(0, 0, 0, 0, 0)) == result


def test_seeds_of_only_one_series_are_ignored() -> None:
    result = compare(pd.Series({1: 3.0, 2: 5.0, 3: 9.0}), pd.Series({2: 4.0, 3: 7.0, 4: 0.0}))
    assert (result.pairs, result.effect, result.p, result.min_attainable_p) == (2, 1.5, 0.25, 0.25)


def test_one_pair_and_no_pair() -> None:
    single = compare(series(2), series(1))
    assert (single.pairs, single.effect, single.low, single.p) == (1, 1.0, None, 0.5)
    assert compare(series(2), series(1), sign=-1).p == 1.0
    none = compare(series(), series(1))
    assert (none.pairs, none.effect, none.p, none.min_attainable_p) == (0, None, None, 1.0)


def test_holm_correction_by_hand() -> None:
    # Sorted .01 .03 .04 times 3, 2, 1: .03 .06 .04, and never below the previous one.
    assert holm([0.04, 0.01, 0.03]) == [0.06, 0.03, 0.06]
    # A test whose runs are missing counts as p = 1.
    assert holm([0.04, 0.01, None, 0.03]) == pytest.approx([0.09, 0.04, None, 0.09])
    assert holm([0.5, 0.9]) == [1.0, 1.0]
    assert holm([]) == []
