"""Line charts over epochs: lines are means over seeds, bands their 95% confidence intervals.

Below three seeds there is no interval: a thin vertical line joins the two seeds, their range.
"""

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from cloob.report.render.panels import objectives_of
from cloob.report.render.style import FAINT, MARKERS, PALETTE
from cloob.report.stats.intervals import INTERVAL, RANGE, Bounds, aggregate_seeds


def draw_lines(axis: Axes, data: pd.DataFrame, bounds: Bounds | None = None) -> None:
    """Draw a line per objective; `data` has a row per seed: objective, epoch, value, within `bounds`."""
    summary = aggregate_seeds(data, ["objective", "epoch"], bounds).sort_values("epoch", kind="stable")
    for objective in objectives_of(data):
        line = summary[summary.objective == objective]
        every = max(1, len(line) // 12)
        axis.plot(
            line.epoch,
            line["mean"],
            color=PALETTE[objective],
            marker=MARKERS[objective],
            markevery=every,
            ms=3,
            mew=0,
            lw=1.2,
        )
        color, band = PALETTE[objective], line.where(line.kind == INTERVAL)
        axis.fill_between(line.epoch, band.low, band.high, color=color, alpha=0.2, lw=0)
        marked = line.iloc[::every]  # ranges of all epochs would cover the line
        for two in marked[marked.kind == RANGE].itertuples():
            ends = [two.low, two.high]
            axis.plot([two.epoch] * 2, ends, color=color, lw=0.5, marker="_", ms=3, mew=0.5, gid="range")
    axis.xaxis.set_major_locator(MaxNLocator("auto", integer=True, steps=[1, 2, 5, 10]))
    axis.grid(axis="y", color=FAINT, alpha=0.25, lw=0.5)
    axis.set_axisbelow(True)
