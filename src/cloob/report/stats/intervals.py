"""The mean over seeds and what is known of its uncertainty: a 95% confidence interval, or only the range."""

from collections.abc import Iterable
from dataclasses import astuple, dataclass
from functools import cache

import numpy as np
import pandas as pd
from scipy import stats
from scipy.special import expit, logit

CONFIDENCE = 0.95
MIN_SEEDS = 3  # of an interval: with two seeds, Student's t has one degree of freedom
# The kinds of estimates: `low` and `high` are a confidence interval, the range of two values, or NaN.
INTERVAL, RANGE, NO_INTERVAL = "interval", "range", "none"
FRACTION, PERCENT = (0.0, 1.0), (0.0, 100.0)
Bounds = tuple[float, float]  # the smallest and the largest possible value of a quantity


@dataclass(frozen=True)
class Estimate:
    """The mean of `seeds` values; `kind` says what `low` and `high` are. NaN where undefined."""

    mean: float
    low: float
    high: float
    kind: str
    seeds: int


def estimate(values: Iterable[float], bounds: Bounds | None = None) -> Estimate:
    """The mean of values (n,), NaNs ignored, with its 95% confidence interval from three values on.

    The interval is mean ± t · s / √n, with Student's t of n − 1 degrees of freedom. With `bounds`, it is
    computed on the logit scale: logit(p) ± t · s / (√n · p · (1 − p)), where p is the mean as a fraction of
    the range; so it has no part beyond the bounds. Two values have their range instead, one value nothing.
    """
    finite = np.asarray([value for value in values if np.isfinite(value)], dtype=float)
    seeds = len(finite)
    mean = float(finite.mean()) if seeds else np.nan
    if seeds == 2:
        return Estimate(mean, float(finite.min()), float(finite.max()), RANGE, seeds)
    if seeds < MIN_SEEDS:
        return Estimate(mean, np.nan, np.nan, NO_INTERVAL, seeds)
    low, high = interval_around(mean, float(finite.std(ddof=1)) / np.sqrt(seeds), seeds - 1, bounds)
    return Estimate(mean, low, high, INTERVAL, seeds)


def interval_around(
    mean: float, standard_error: float, degrees: float, bounds: Bounds | None = None
) -> tuple[float, float]:
    """The 95% confidence interval of Student's t with these degrees of freedom; see `estimate`."""
    half = _t_quantile(degrees) * standard_error
    if bounds is None:
        return mean - half, mean + half
    lowest, width = bounds[0], bounds[1] - bounds[0]
    p = (mean - lowest) / width
    if half == 0 or not 0 < p < 1:
        return mean, mean  # all values are equal
    low, high = expit(logit(p) + np.array([-1, 1]) * half / width / (p * (1 - p)))
    return float(lowest + width * low), float(lowest + width * high)


@cache
def _t_quantile(degrees: float) -> float:
    return float(stats.t.ppf((1 + CONFIDENCE) / 2, degrees))


def aggregate_seeds(data: pd.DataFrame, by: list[str], bounds: Bounds | None = None) -> pd.DataFrame:
    """One row per seed -> one row per group, in order of appearance: mean, low, high, kind, seeds.

    Draw `low` to `high` as a confidence interval where `kind` is "interval", and as a range with the dots of
    both seeds where it is "range". A group of one seed keeps the interval of its columns `low` and `high`, if
    the data have them (`single_runs.add_intervals`).
    """
    rows = []
    for names, group in data.groupby(by, sort=False):
        result = estimate(group.value, bounds)
        if len(group) == 1 and {"low", "high"} <= set(group) and pd.notna(group.low.iloc[0]):
            result = Estimate(result.mean, group.low.iloc[0], group.high.iloc[0], INTERVAL, 1)
        rows.append([*names, *astuple(result)])
    return pd.DataFrame(rows, columns=[*by, "mean", "low", "high", "kind", "seeds"])
