"""Significance tests, compared with the enumeration of all signs, with SciPy, and by hand."""

import itertools
import math

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from cloob.report.stats.intervals import INTERVAL, NO_INTERVAL, RANGE
from cloob.report.stats.significance import compare, holm, max_family, signed_rank_p, welch_p


def enumerated_p(differences: list[float]) -> float:
    """The fraction of all sign patterns whose positive rank sum is at least the observed one."""
    nonzero = np.array([difference for difference in differences if difference])
    if not len(nonzero):
        return 1.0
    ranks = stats.rankdata(abs(nonzero))
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
    above, below = enumerated_p(differences), enumerated_p([-difference for difference in differences])
    assert (result.p_above, result.p_below) == pytest.approx((above, below), abs=1e-12)
    assert (result.p(1), result.p(-1)) == (result.p_above, result.p_below)
    assert result.p_two_sided == pytest.approx(min(1, 2 * min(above, below)), abs=1e-12)
    assert result.effect == pytest.approx(np.mean(differences))
    differing = sum(difference != 0 for difference in differences)
    assert (result.pairs, result.differing) == (len(differences), differing)
    assert result.min_attainable_p == 0.5**differing


def test_p_equals_scipys_where_that_is_exact() -> None:
    # With ties, SciPy's method "exact" takes the distribution of untied ranks, permutations of signs do not.
    tied = np.array([1.0, 1, 1, 1, 2, 2, 2, -1])
    permutations = stats.PermutationMethod(n_resamples=2**8)
    for alternative, differences in (("greater", tied), ("less", -tied)):
        exact = stats.wilcoxon(tied, alternative=alternative, method=permutations).pvalue
        assert signed_rank_p(differences) == pytest.approx(exact, abs=1e-12)
    assert signed_rank_p(tied) == 6 / 256
    assert stats.wilcoxon(tied, alternative="greater", method="exact").pvalue == 5 / 256
    untied = np.random.default_rng(0).normal(0.3, 1, 30)
    expected = stats.wilcoxon(untied, alternative="greater", method="exact").pvalue
    assert signed_rank_p(untied) == pytest.approx(expected, abs=1e-12)


def test_differences_that_are_equal_up_to_rounding_have_equal_ranks() -> None:
    # In floating point 0.3 - 0.2 < 0.2 - 0.1: without rounding these are not ties.
    result = compare(series(0.2, 0.3, 0.1), series(0.1, 0.2, 0.2))
    assert result.p_above == enumerated_p([1, 1, -1])


def test_interval_is_that_of_the_paired_t_test_from_three_pairs_on() -> None:
    first, second = series(1.4, 2.0, 1.7, 0.8, 2.5), series(1, 1, 1, 1, 1)
    result = compare(first, second)
    expected = stats.ttest_rel(first, second).confidence_interval(0.95)
    assert (result.low, result.high, result.kind) == pytest.approx((*expected, INTERVAL))
    two = compare(first[:2], second[:2])
    assert (two.low, two.high, two.kind) == pytest.approx((0.4, 1.0, RANGE))


def test_seeds_of_only_one_series_are_ignored() -> None:
    result = compare(pd.Series({1: 3.0, 2: 5.0, 3: 9.0}), pd.Series({2: 4.0, 3: 7.0, 4: 0.0}))
    assert (result.pairs, result.effect, result.p_above, result.min_attainable_p) == (2, 1.5, 0.25, 0.25)


def test_one_pair_and_no_pair() -> None:
    single = compare(series(2), series(1))
    assert (single.pairs, single.effect, single.low, single.kind) == (1, 1.0, None, NO_INTERVAL)
    assert (single.p_above, single.p_below, single.p_two_sided) == (0.5, 1.0, 1.0)
    none = compare(series(), series(1))
    assert (none.pairs, none.effect, none.p_above, none.p_two_sided) == (0, None, None, None)
    assert none.min_attainable_p == 1.0


def test_holm_correction_by_hand() -> None:
    # Sorted .01 .03 .04 times 3, 2, 1: .03 .06 .04, and never below the previous one.
    assert holm([0.04, 0.01, 0.03]) == [0.06, 0.03, 0.06]
    # A test whose runs are missing counts as p = 1.
    assert holm([0.04, 0.01, None, 0.03]) == pytest.approx([0.09, 0.04, None, 0.09])
    assert holm([0.5, 0.9]) == [1.0, 1.0]
    assert holm([]) == []


def test_five_seeds_decide_single_claims_and_eight_all_test_sets() -> None:
    # The smallest one-sided p of n pairs is 2^-n, times the size of the family.
    assert [max_family(pairs) for pairs in range(4, 10)] == [0, 1, 3, 6, 12, 25]
    for pairs in range(4, 10):
        smallest, size = signed_rank_p(np.arange(1.0, pairs + 1)), max_family(pairs)
        assert smallest == 0.5**pairs
        assert all(p <= 0.05 for p in holm([smallest] * size))
        assert all(p > 0.05 for p in holm([smallest] * (size + 1)))


def test_welchs_test_equals_scipys_with_the_samples_themselves() -> None:
    ours, theirs = series(2.0, 2.1, 2.2, 2.3, 2.5), np.array([2.1, 2.6, 2.2, 2.9, 2.4])
    p = welch_p(ours, theirs.mean(), theirs.std(ddof=1), len(theirs))
    assert p == pytest.approx(stats.ttest_ind(ours, theirs, equal_var=False).pvalue)
    assert welch_p(series(*ours, math.nan), theirs.mean(), theirs.std(ddof=1), 5) == p


@pytest.mark.parametrize(
    ("values", "std", "runs"),
    [((1, 2), 0.1, 5), ((1, 2, 3), None, 5), ((1, 2, 3), 0.1, 1), ((2, 2, 2), 0.0, 5)],
    ids=["two runs", "no deviation", "one published run", "no variation"],
)
def test_welchs_test_needs_three_runs_and_a_deviation(values: tuple, std: float | None, runs: int) -> None:
    assert welch_p(series(*values), 2.0, std, runs) is None
