"""Tests over seeds: the exact Wilcoxon signed-rank test of pairs, Holm's correction, and Welch's test."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy import stats

from cloob.report.stats.intervals import MIN_SEEDS, NO_INTERVAL, estimate

LEVEL = 0.05


@dataclass(frozen=True)
class Comparison:
    """Paired differences `first - second`: mean, confidence interval, and exact p-values of tests against 0.

    `low` and `high` are the 95% t interval of the mean from three pairs on, the range of two pairs (`kind`,
    see `cloob.report.stats.intervals`), and None below. `p_above` and `p_below` are one-sided, of the
    alternatives that `first` is above and below `second`. `differing` counts the pairs that differ: only
    these can contribute to a test.
    """

    pairs: int
    differing: int = 0
    effect: float | None = None
    low: float | None = None
    high: float | None = None
    kind: str = NO_INTERVAL
    p_above: float | None = None
    p_below: float | None = None

    def p(self, sign: int) -> float | None:
        """The one-sided p-value of the alternative that `first` is above (sign 1) or below (-1) `second`."""
        return self.p_above if sign > 0 else self.p_below

    @property
    def p_two_sided(self) -> float | None:
        """Twice the smaller one-sided p-value: the null distribution is symmetric."""
        if self.p_above is None or self.p_below is None:
            return None
        return min(1.0, 2 * min(self.p_above, self.p_below))

    @property
    def min_attainable_p(self) -> float:
        """The smallest one-sided p-value that this number of differing pairs can attain."""
        return float(0.5**self.differing)


def compare(first: pd.Series, second: pd.Series) -> Comparison:
    """Compare values indexed by seed; seeds that occur in only one of the two are ignored."""
    # Equal differences must have equal ranks: 0.3 - 0.2 and 0.2 - 0.1 differ in floating point.
    differences = (first - second).dropna().round(12).to_numpy(dtype=float)
    pairs = len(differences)
    if pairs == 0:
        return Comparison(0)
    mean = estimate(differences)
    low, high = (None, None) if mean.kind == NO_INTERVAL else (mean.low, mean.high)
    above, below = signed_rank_p(differences), signed_rank_p(-differences)
    differing = int(np.count_nonzero(differences))
    return Comparison(pairs, differing, mean.mean, low, high, mean.kind, above, below)


def signed_rank_p(differences: np.ndarray) -> float:
    """Exact one-sided p-value of Wilcoxon's signed-rank test that the differences (n,) are above 0.

    Zeros are dropped, ties have their mean rank (Wilcoxon, 1945). The null distribution, over all signs of
    these ranks, is computed by adding one rank after the other. SciPy's `method="exact"` takes the
    distribution of untied ranks: at n = 8 with ties it says 0.0195 instead of 0.0234, for example.
    """
    nonzero = differences[differences != 0]
    ranks = np.rint(2 * stats.rankdata(np.abs(nonzero))).astype(int)  # doubled, so that mean ranks are whole
    probability = np.ones(1)  # of each doubled rank sum of the positive differences, from 0
    for rank in ranks:
        without, with_rank = np.pad(probability, (0, rank)), np.pad(probability, (rank, 0))
        probability = (without + with_rank) / 2
    return min(1.0, float(probability[ranks[nonzero > 0].sum() :].sum()))


def holm(p_values: Sequence[float | None]) -> list[float | None]:
    """Holm-corrected p-values of one family of tests (Holm, 1979).

    None is a test whose runs are missing: it stays None but counts as p = 1, so that adding results later
    never increases another p-value.
    """
    ranked = sorted((1.0 if p is None else p, index) for index, p in enumerate(p_values))
    corrected: list[float | None] = [None] * len(p_values)
    highest = 0.0
    for rank, (p, index) in enumerate(ranked):
        highest = max(highest, min(1.0, (len(ranked) - rank) * p))
        corrected[index] = None if p_values[index] is None else highest
    return corrected


def max_family(pairs: int) -> int:
    """The largest family in which this number of differing pairs can decide every one-sided test."""
    return int(LEVEL * 2**pairs)


def welch_p(values: pd.Series, mean: float, std: float | None, runs: int) -> float | None:
    """Two-sided p-value of Welch's test (1947): values (n,) against a sample given by its statistics.

    None if either sample has fewer than three values, an unknown deviation, or if neither varies.
    """
    values = values.dropna()
    if std is None or min(runs, len(values)) < MIN_SEEDS or (std == 0 and values.std(ddof=1) == 0):
        return None
    sample = (values.mean(), values.std(ddof=1), len(values))
    return float(stats.ttest_ind_from_stats(*sample, mean, std, runs, equal_var=False).pvalue)
