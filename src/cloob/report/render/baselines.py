"""Released models beside the runs of a figure: a marker and a line, never in the color of an objective."""

from typing import Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.lines import Line2D

from cloob.report.load.released import RELEASED
from cloob.report.render.bars import bar_width
from cloob.report.render.style import figure_text

_SLOT = 0.08  # width of a baseline beside a group of bars; groups are 1 apart
_MAX_RESERVED = 0.45  # of all baselines of a group
_MAX_TITLE = 40  # characters
_COLORS = ("#00796b", "#8e44ad", "#555555", "#c2185b", "#808000")
_MARKERS = ("D", "s", "^", "v", "P")


Styles = dict[str, dict[str, Any]]  # title of a model -> color and marker


def baseline_styles(baselines: pd.DataFrame) -> Styles:
    """Color and marker of every model, in the order of the configuration."""
    return {
        title: {
            "color": _COLORS[index % len(_COLORS)],
            "marker": _MARKERS[index % len(_MARKERS)],
            "lw": 0.6,
            "ms": 3.2,
            "mew": 0,
        }
        for index, title in enumerate(dict.fromkeys(baselines[RELEASED]))
    }


def baseline_legend(styles: Styles) -> list[Line2D]:
    """A legend entry per model."""
    return [
        Line2D([], [], label=f"released: {figure_text(title, _MAX_TITLE)}", **style)
        for title, style in styles.items()
    ]


def reserved_width(baselines: pd.DataFrame) -> float:
    """The width that baselines need beside each group of bars."""
    return min(_SLOT * baselines[RELEASED].nunique(), _MAX_RESERVED)


def draw_beside_bars(
    axis: Axes, baselines: pd.DataFrame, column: str, bars: dict[tuple, float], styles: Styles
) -> None:
    """Draw every value as a line across its group of bars, with a marker to the right of them.

    `bars` are the positions that `draw_bars` returned for groups of `column` and `reserved_width`.
    """
    reserved = reserved_width(baselines)
    width = bar_width(len({objective for _, objective in bars}), reserved)
    slots = {title: number for number, title in enumerate(dict.fromkeys(baselines[RELEASED]))}
    for row in baselines.itertuples():
        group = [x for (category, _), x in bars.items() if category == getattr(row, column)]
        if group:
            title = getattr(row, RELEASED)
            x = max(group) + width / 2 + (slots[title] + 0.6) * reserved / len(slots)
            line = [min(group) - width / 2, x], [row.value] * 2
            axis.plot(*line, zorder=3.5, gid=RELEASED, markevery=[1], **styles[title])


def draw_across(axis: Axes, baselines: pd.DataFrame, styles: Styles) -> None:
    """Draw every value as a line across the axis, with its marker near the right end."""
    left, right = axis.get_xlim()
    for row in baselines.itertuples():
        title = getattr(row, RELEASED)
        # Side by side: markers of equal values would hide each other.
        x = right - (0.02 + 0.03 * list(styles).index(title)) * (right - left)
        axis.plot([left, x, right], [row.value] * 3, zorder=3.5, gid=RELEASED, markevery=[1], **styles[title])
    axis.set_xlim(left, right)
