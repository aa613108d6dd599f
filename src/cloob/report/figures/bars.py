"""Bars over seeds: a bar is the mean, a whisker its 95 % interval, a dot one seed."""

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.lines import Line2D

from cloob.report.figures.inputs import RUN, objectives_of
from cloob.report.render.style import FAINT, INK, PALETTE
from cloob.report.stats.intervals import over_seeds

_GROUP, _BAR = 0.8, 0.24  # width of all bars of a place at most, and of one; the next place is 1 away
_BESIDE = 0.17  # of a bar's width: the dots stand left of its middle, the whisker right


def draw_bars(axis: Axes, data: pd.DataFrame, places: list[object], along: str) -> dict[tuple, float]:
    """Draw a group of bars per place of the column `along`; returns where each (place, objective) stands.

    `data` holds a row per seed: objective, value, and low, high where a seed has an interval of its own.
    """
    objectives = objectives_of(data)
    width = min(_BAR, _GROUP / len(objectives))
    stands = {
        (place, objective): spot + (rank + 0.5 - len(objectives) / 2) * width
        for spot, place in enumerate(places)
        for rank, objective in enumerate(objectives)
    }
    for row in over_seeds(data, [along, "objective"]).itertuples():
        x = stands[getattr(row, along), row.objective]
        axis.bar(x, row.mean, width * 0.92, color=PALETTE[row.objective], zorder=2)
        if pd.notna(row.low):
            beside = [x + _BESIDE * width] * 2
            axis.plot(beside, [row.low, row.high], color=INK, lw=1.1, solid_capstyle="butt", zorder=3)
    for row in data.itertuples():
        x = stands[getattr(row, along), row.objective] - _BESIDE * width
        axis.plot(x, row.value, "o", ms=2.3, mfc="white", mec=INK, mew=0.5, zorder=4, gid="seed")
    axis.set_xticks(range(len(places)))
    axis.tick_params(axis="x", length=0)
    axis.set_xlim(-0.6, len(places) - 0.4)
    axis.axhline(0, color=INK, lw=0.6, zorder=2.5)
    axis.grid(axis="y", color=FAINT, alpha=0.25, lw=0.5)
    axis.set_axisbelow(True)
    return stands


def bar_legend(data: pd.DataFrame) -> list[Line2D]:
    """What the marks on a bar mean; a single seed without an interval of its own has no whisker."""
    whisker = Line2D([], [], color=INK, lw=1.1, label="95 % interval")
    dot = Line2D([], [], ls="", marker="o", ms=3, mfc="white", mec=INK, mew=0.6, label="one seed")
    whiskers = data.groupby(RUN[:-1]).seed.nunique().max() > 1 or ("low" in data and data.low.notna().any())
    return [whisker, dot] if whiskers else [dot]
