"""Confidence intervals of accuracies of a single run, from both sources of uncertainty: seed and test images.

A single run says nothing about the deviation between seeds. It is taken from the groups of the same table
that have three or more seeds, and where there are none, there is no interval.
"""

import numpy as np
import pandas as pd
from scipy import stats

from cloob.report.stats.intervals import CONFIDENCE, FRACTION, MIN_SEEDS, interval_around


def add_intervals(
    data: pd.DataFrame, run: list[str], quantity: list[str], epoch: list[str] | None = None
) -> pd.DataFrame:
    """Add columns `low` and `high`: the interval of every run without another seed, else NaN.

    `data` has a row per seed: `value` (a fraction), `image_low` and `image_high` (its 95% interval over test
    images, NaN if unknown). Rows that agree in `run`, `epoch` and `quantity` differ only in the seed. On the
    logit scale, the variance is that between seeds, pooled over the runs of the same `quantity` (the test
    set), plus that over test images; the degrees of freedom are Welch and Satterthwaite's. The same seeds at
    several epochs are no further degrees of freedom.
    """
    groups = data.groupby([*run, *(epoch or []), *quantity], sort=False, dropna=False).value
    mean, std, seeds = (groups.transform(name) for name in ("mean", "std", "count"))
    # Standard deviations of the logit: by the delta method, those of the fraction over p(1 − p).
    slope = (mean * (1 - mean)).where((mean > 0) & (mean < 1))
    several = (seeds >= MIN_SEEDS) & slope.notna()
    # Every seed of a group contributes (n − 1)/n: together the group's n − 1 degrees of freedom.
    weight = ((seeds - 1) / seeds).where(several, 0.0)
    names = [data[name] for name in quantity]
    weights = weight.groupby(names).transform("sum").replace(0, np.nan)
    pooled = (weight * (std / slope) ** 2).fillna(0).groupby(names).transform("sum") / weights
    # Every row of a run, at whatever epoch, contributes its part of the run's largest n − 1.
    by_run = (seeds - 1).where(several, 0.0).groupby([data[name] for name in run] + names, dropna=False)
    degrees = (by_run.transform("max") / by_run.transform("size")).groupby(names).transform("sum")
    z = stats.norm.ppf((1 + CONFIDENCE) / 2)
    of_images = ((data.image_high - data.image_low) / (2 * z) / slope) ** 2
    variance = (pooled + of_images).where(groups.transform("size") == 1)
    low, high = [], []
    for row, value in enumerate(data.value):
        bounds = (np.nan, np.nan)
        if variance.iloc[row] > 0:
            total = float(variance.iloc[row])
            # The interval over images is of many images: only the seeds' part has few degrees of freedom.
            effective = degrees.iloc[row] * (total / pooled.iloc[row]) ** 2 if pooled.iloc[row] else np.inf
            error = np.sqrt(total) * slope.iloc[row]
            bounds = interval_around(value, float(error), float(effective), FRACTION)
        low.append(bounds[0])
        high.append(bounds[1])
    return data.assign(low=low, high=high)
