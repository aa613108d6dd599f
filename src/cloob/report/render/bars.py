"""Bar charts over seeds: bars are means, whiskers 95% confidence intervals, dots single seeds.

Below three seeds there is no interval: two dots are joined by a thin line, their range.
"""

from collections.abc import Sequence

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.lines import Line2D

from cloob.report.load.result_files import RUN_KEYS
from cloob.report.render.panels import objectives_of
from cloob.report.render.style import FAINT, INK, PALETTE
from cloob.report.stats.intervals import INTERVAL, MIN_SEEDS, RANGE, Bounds, aggregate_seeds

_GROUP_WIDTH, _BAR_WIDTH = 0.8, 0.24  # maximum width of a group of bars and of a bar; groups are 1 apart
_OFFSET = 0.17  # in bar widths: dots are left of the center, whiskers right


def bar_width(objectives: int, reserved: float = 0) -> float:
    """The width of a bar in groups of `objectives` bars, if a width of `reserved` is left empty in each."""
    return min(_BAR_WIDTH, (_GROUP_WIDTH - reserved) / objectives)


def draw_bars(
    axis: Axes,
    data: pd.DataFrame,
    categories: Sequence[object],
    column: str,
    bounds: Bounds | None = None,
    reserved: float = 0,
) -> dict[tuple, float]:
    """Draw a group of bars per category of `column`; returns the x position of each (category, objective).

    `data` has a row per seed: objective, value, and optionally the seed's own interval low, high. `bounds`
    are those of the values, such as (0, 100) for percentages. To the right of each group, a width of
    `reserved` is left empty.
    """
    objectives = objectives_of(data)
    width = bar_width(len(objectives), reserved)
    positions = {
        (category, objective): center - reserved / 2 + (index + 0.5 - len(objectives) / 2) * width
        for center, category in enumerate(categories)
        for index, objective in enumerate(objectives)
    }
    for row in aggregate_seeds(data, [column, "objective"], bounds).itertuples():
        x = positions[getattr(row, column), row.objective]
        axis.bar(x, row.mean, width * 0.92, color=PALETTE[row.objective], lw=0, zorder=2)
        # Above the zero line, so that a bar of height zero is visible, unlike a missing one.
        top = [x - 0.46 * width, x + 0.46 * width], [row.mean] * 2
        axis.plot(*top, color=PALETTE[row.objective], lw=1.5, solid_capstyle="butt", zorder=2.6, gid="mean")
        if row.kind == INTERVAL:
            whisker = [x + _OFFSET * width] * 2
            axis.plot(whisker, [row.low, row.high], color=INK, lw=1.1, solid_capstyle="butt", zorder=3)
        if row.kind == RANGE:
            between_dots = [x - _OFFSET * width] * 2
            axis.plot(between_dots, [row.low, row.high], color=INK, lw=0.5, zorder=3, gid="range")
    for row in data.itertuples():
        x = positions[getattr(row, column), row.objective] - _OFFSET * width
        axis.plot(x, row.value, "o", ms=2.3, mfc="white", mec=INK, mew=0.5, zorder=4, gid="seed")
    axis.set_xticks(range(len(categories)))
    axis.tick_params(axis="x", length=0)
    axis.set_xlim(-0.6, len(categories) - 0.4)
    axis.axhline(0, color=INK, lw=0.6, zorder=2.5)
    axis.grid(axis="y", color=FAINT, alpha=0.25, lw=0.5)
    axis.set_axisbelow(True)
    return positions


def bar_legend(data: pd.DataFrame) -> list[Line2D]:
    """Legend entries of whiskers, ranges and dots, if a bar has them."""
    whisker = Line2D([], [], color=INK, lw=1.1, label="95% confidence interval")
    dot = Line2D([], [], ls="", marker="o", ms=3, mfc="white", mec=INK, mew=0.6, label="one seed")
    ranged = Line2D([], [], color=INK, lw=0.5, marker="o", ms=3, mfc="white", mec=INK, mew=0.6)
    ranged.set_label("range of two seeds")
    seeds = data.groupby(RUN_KEYS[:-1]).seed.nunique()
    has_whiskers = seeds.max() >= MIN_SEEDS or ("low" in data and data.low.notna().any())
    return [*([whisker] if has_whiskers else []), *([ranged] if (seeds == 2).any() else []), dot]
