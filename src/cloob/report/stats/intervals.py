"""Confidence intervals of means over seeds."""

from collections.abc import Iterable

import numpy as np
import pandas as pd
from scipy import stats

CONFIDENCE = 0.95


def t_interval(values: Iterable[float]) -> tuple[float, float, float]:
    """Mean and 95% confidence interval of values (n,): mean ± t · s / √n, Student's t with n − 1 degrees.

    NaNs are ignored. The bounds are NaN for fewer than two values.
    """
    finite = np.asarray([value for value in values if np.isfinite(value)], dtype=float)
    if len(finite) < 2:
        return (float(finite[0]) if len(finite) else np.nan), np.nan, np.nan
    half = stats.t.ppf((1 + CONFIDENCE) / 2, len(finite) - 1) * finite.std(ddof=1) / np.sqrt(len(finite))
    return float(finite.mean()), float(finite.mean() - half), float(finite.mean() + half)


def aggregate_seeds(data: pd.DataFrame, by: list[str]) -> pd.DataFrame:
    """One row per seed -> one row per group, in order of appearance: mean, low, high, seeds.

    A group of one seed keeps the interval of its columns `low` and `high`, if the data have them.
    """
    rows = []
    for names, group in data.groupby(by, sort=False):
        mean, low, high = t_interval(group.value)
        if len(group) == 1 and {"low", "high"} <= set(group):
            low, high = group.low.iloc[0], group.high.iloc[0]
        rows.append([*names, mean, low, high, len(group)])
    return pd.DataFrame(rows, columns=[*by, "mean", "low", "high", "seeds"])
