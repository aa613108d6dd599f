"""How far a mean over seeds can be trusted."""

from collections.abc import Iterable

import numpy as np
import pandas as pd
from scipy import stats

CONFIDENCE = 0.95


def t_interval(values: Iterable[float]) -> tuple[float, float, float]:
    """Mean of values (n,) and the ends of its 95 % interval, mean ± t · s / √n (Student's t, n − 1 degrees).

    The ends are NaN where one value says nothing of a spread.
    """
    known = np.asarray([value for value in values if np.isfinite(value)], dtype=float)
    if len(known) < 2:
        return (float(known[0]) if len(known) else np.nan), np.nan, np.nan
    half = stats.t.ppf((1 + CONFIDENCE) / 2, len(known) - 1) * known.std(ddof=1) / np.sqrt(len(known))
    return float(known.mean()), float(known.mean() - half), float(known.mean() + half)


def over_seeds(data: pd.DataFrame, by: list[str]) -> pd.DataFrame:
    """Rows of one value per seed -> a row per group, in order of appearance: mean, low, high, seeds.

    A group of one seed takes the interval of its own row, from columns `low` and `high`, if there is one.
    """
    rows = []
    for names, group in data.groupby(by, sort=False):
        mean, low, high = t_interval(group.value)
        if len(group) == 1 and {"low", "high"} <= set(group):
            low, high = group.low.iloc[0], group.high.iloc[0]
        rows.append([*names, mean, low, high, len(group)])
    return pd.DataFrame(rows, columns=[*by, "mean", "low", "high", "seeds"])
