"""Line charts over epochs: lines are means over seeds, bands their 95% confidence intervals."""

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from cloob.report.render.panels import objectives_of
from cloob.report.render.style import FAINT, MARKERS, PALETTE
from cloob.report.stats.intervals import aggregate_seeds


def draw_lines(axis: Axes, data: pd.DataFrame) -> None:
    """Draw a line per objective; `data` has a row per seed: objective, epoch, value."""
    summary = aggregate_seeds(data, ["objective", "epoch"]).sort_values("epoch", kind="stable")
    for objective in objectives_of(data):
        line = summary[summary.objective == objective]
        axis.plot(
            line.epoch,
            line["mean"],
            color=PALETTE[objective],
            marker=MARKERS[objective],
            markevery=max(1, len(line) // 12),
            ms=3,
            mew=0,
            lw=1.2,
        )
        axis.fill_between(line.epoch, line.low, line.high, color=PALETTE[objective], alpha=0.2, lw=0)
    axis.xaxis.set_major_locator(MaxNLocator("auto", integer=True, steps=[1, 2, 5, 10]))
    axis.grid(axis="y", color=FAINT, alpha=0.25, lw=0.5)
    axis.set_axisbelow(True)
