"""The tests of significance against their definitions: every sign, every resample, counted."""

import itertools

import numpy as np
import pandas as pd
import pytest
from scipy.stats import rankdata

from cloob.report.stats.significance import compare, holm


def enumerated_p(differences: list[float]) -> float:
    """The share of all signs of the differences whose positive ranks sum to what was seen, or to more."""
    kept = np.array([each for each in differences if each])
    if not len(kept):
        return 1.0
    ranks = rankdata(abs(kept))
    seen = ranks[kept > 0].sum()
    sums = [ranks[np.array(signs)].sum() for signs in itertools.product([False, True], repeat=len(kept))]
    return float(np.mean([each >= seen - 1e-9 for each in sums]))


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
def test_p_is_the_share_of_signs(differences: list[float]) -> None:
    found = compare(series(*differences), series(*[0] * len(differences)))
    assert found.p == pytest.approx(enumerated_p(differences), abs=1e-12)
    below = compare(series(*differences), series(*[0] * len(differences)), sign=-1)
    assert below.p == pytest.approx(enumerated_p([-each for each in differences]), abs=1e-12)
    assert below.effect == found.effect == pytest.approx(np.mean(differences))
    assert found.least_p == 0.5 ** len(differences)


def test_equal_differences_are_equal_for_the_ranks() -> None:
    # In binary 0.3 - 0.2 < 0.2 - 0.1: unrounded these would not tie.
    found = compare(series(0.2, 0.3, 0.1), series(0.1, 0.2, 0.2))
    assert found.p == enumerated_p([1, 1, -1])


def test_the_interval_is_of_the_means_of_resampled_pairs() -> None:
    differences = [0.4, 1.0, 0.7, -0.2, 1.5]
    found = compare(series(*differences), series(0, 0, 0, 0, 0))
    every = [np.mean(each) for each in itertools.product(differences, repeat=5)]
    assert [found.low, found.high] == pytest.approx(np.percentile(every, [2.5, 97.5]), abs=0.04)
    again = compare(series(*differences), series(0, 0, 0, 0, 0))
    assert again == found


def test_only_seeds_that_both_have_are_pairs() -> None:
    found = compare(pd.Series({1: 3.0, 2: 5.0, 3: 9.0}), pd.Series({2: 4.0, 3: 7.0, 4: 0.0}))
    assert (found.pairs, found.effect, found.p, found.least_p) == (2, 1.5, 0.25, 0.25)


def test_one_pair_and_none() -> None:
    one = compare(series(2), series(1))
    assert (one.pairs, one.effect, one.low, one.p) == (1, 1.0, None, 0.5)
    assert compare(series(2), series(1), sign=-1).p == 1.0
    none = compare(series(), series(1))
    assert (none.pairs, none.effect, none.p, none.least_p) == (0, None, None, 1.0)


def test_holm_by_hand() -> None:
    # Sorted .01 .03 .04 times 3, 2, 1: .03 .06 .04, and never below the one before.
    assert holm([0.04, 0.01, 0.03]) == [0.06, 0.03, 0.06]
    # One that lacks its runs counts as if it had come out worst.
    assert holm([0.04, 0.01, None, 0.03]) == pytest.approx([0.09, 0.04, None, 0.09])
    assert holm([0.5, 0.9]) == [1.0, 1.0]
    assert holm([]) == []
