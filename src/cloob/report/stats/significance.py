"""Is one method better than another, judged by runs paired by their seeds."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy import stats

LEVEL = 0.05
_RESAMPLES = 9999


@dataclass(frozen=True)
class Comparison:
    """Paired differences `first - second`: their mean, its interval, and the test that they are above 0.

    `low` and `high` bound 95 % of the means of resampled pairs (percentile bootstrap; None under two pairs).
    `p` is of the one-sided Wilcoxon signed-rank test, exact up to 13 pairs; `least_p`, 2^-pairs, the
    best it could be.
    """

    pairs: int
    effect: float | None = None
    low: float | None = None
    high: float | None = None
    p: float | None = None
    least_p: float = 1.0


def compare(first: pd.Series, second: pd.Series, sign: int = 1) -> Comparison:
    """Compare values by seed (index); a seed that only one of them has is left out.

    `sign` -1 tests whether `first` lies below `second`; the effect is first - second all the same.
    """
    # Equal differences have to be equal for the ranks: 0.3 - 0.2 and 0.2 - 0.1 are not, in binary.
    differences = (first - second).dropna().round(12).to_numpy()
    pairs = len(differences)
    if pairs == 0:
        return Comparison(0)
    effect, least_p = float(differences.mean()), 0.5**pairs
    if pairs == 1:
        return Comparison(1, effect, p=0.5 if sign * effect > 0 else 1.0, least_p=least_p)
    interval = stats.bootstrap(
        (differences,), np.mean, method="percentile", n_resamples=_RESAMPLES, rng=np.random.default_rng(0)
    ).confidence_interval
    # All 2^pairs signs up to 13 pairs: exact with ties too, which SciPy's own "exact" is not.
    signs = stats.PermutationMethod(n_resamples=_RESAMPLES, rng=np.random.default_rng(0))
    p = stats.wilcoxon(sign * differences, alternative="greater", method=signs).pvalue
    return Comparison(pairs, effect, float(interval.low), float(interval.high), float(p), least_p)


def holm(p_values: Sequence[float | None]) -> list[float | None]:
    """Holm's correction of the p-values of one family.

    None is a test that cannot be made yet, for want of a run: it stays None, and counts with the worst p, so
    that results which come in later make no p larger.
    """
    ranked = sorted((1.0 if p is None else p, place) for place, p in enumerate(p_values))
    corrected: list[float | None] = [None] * len(p_values)
    highest = 0.0
    for rank, (p, place) in enumerate(ranked):
        highest = max(highest, min(1.0, (len(ranked) - rank) * p))
        corrected[place] = None if p_values[place] is None else highest
    return corrected
