"""Paired significance tests over seeds: bootstrap interval, Wilcoxon signed-rank test, Holm's correction."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy import stats

LEVEL = 0.05
_RESAMPLES = 9999


@dataclass(frozen=True)
class Comparison:
    """Paired differences `first - second`: mean, confidence interval, and p-value of a test against 0.

    `low` and `high` are the 95% percentile bootstrap interval of the mean over pairs (None below two pairs).
    `p` is the p-value of the one-sided Wilcoxon signed-rank test, exact up to 13 pairs; `min_attainable_p` is
    the smallest p that this number of pairs can attain, 2^-pairs.
    """

    pairs: int
    effect: float | None = None
    low: float | None = None
    high: float | None = None
    p: float | None = None
    min_attainable_p: float = 1.0


def compare(first: pd.Series, second: pd.Series, sign: int = 1) -> Comparison:
    """Compare values indexed by seed; seeds that occur in only one of the two are ignored.

    `sign` -1 tests whether `first` is below `second`; the effect remains first - second.
    """
    # Equal differences must have equal ranks: 0.3 - 0.2 and 0.2 - 0.1 differ in floating point.
    differences = (first - second).dropna().round(12).to_numpy()
    pairs = len(differences)
    if pairs == 0:
        return Comparison(0)
    effect, min_attainable_p = float(differences.mean()), 0.5**pairs
    if pairs == 1:
        p = 0.5 if sign * effect > 0 else 1.0
        return Comparison(1, effect, p=p, min_attainable_p=min_attainable_p)
    interval = stats.bootstrap(
        (differences,), np.mean, method="percentile", n_resamples=_RESAMPLES, rng=np.random.default_rng(0)
    ).confidence_interval
    # All 2^pairs signs up to 13 pairs: exact with ties too, unlike SciPy's method "exact".
    permutations = stats.PermutationMethod(n_resamples=_RESAMPLES, rng=np.random.default_rng(0))
    p = stats.wilcoxon(sign * differences, alternative="greater", method=permutations).pvalue
    return Comparison(pairs, effect, float(interval.low), float(interval.high), float(p), min_attainable_p)


def holm(p_values: Sequence[float | None]) -> list[float | None]:
    """Holm-corrected p-values of one family of tests.

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
