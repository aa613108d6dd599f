"""The zero-shot overview: a bar per test set and objective, a dot per seed, and where chance lies."""

from collections.abc import Sequence
from pathlib import Path

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from cloob.report.figures.bars import bar_legend, draw_bars
from cloob.report.figures.inputs import RUN, number, objectives_of, panels, results
from cloob.report.names import DATASETS, in_order, label
from cloob.report.render.style import DASHES, INK, handles, new_figure, shown, title

_NAME = 32  # characters of a test set's name, at most
METRIC = "accuracy"  # what the paper reports for every set


def read(inputs: Sequence[Path]) -> pd.DataFrame:
    """Accuracies: the columns of `RUN`, epoch, dataset, value, low, high (bootstrap over images), chance."""
    rows = []
    for identity, content in results(inputs, "zeroshot"):
        low, high = content.get("intervals", {}).get(METRIC) or (None, None)
        value, chance = number(content, "metrics", METRIC), number(content, "chance")
        rows.append([*identity.values(), content["dataset"], value, low, high, chance])
    columns = [*RUN, "epoch", "dataset", "value", "low", "high", "chance"]
    return pd.DataFrame(rows, columns=columns).astype({"low": float, "high": float})


def draw(data: pd.DataFrame, mark: str) -> Figure:
    """A panel per corpus, architecture, recipe and epoch; in percent."""
    parts = [
        (f"{name} · epoch {epoch}", part)
        for name, run in panels(data)
        for epoch, part in run.groupby("epoch")
    ]
    figure = new_figure(height=0.95 + 1.55 * len(parts))
    axes = figure.subplots(len(parts), 1, squeeze=False)[:, 0]
    for axis, (name, part) in zip(axes, parts, strict=True):
        _draw_panel(axis, part)
        axis.set_title(name)
    chance = Line2D([], [], color=INK, lw=1, ls=DASHES, label="chance")
    title(figure, "Zero-shot accuracy", mark, [*handles(objectives_of(data)), *bar_legend(data), chance])
    return figure


def _draw_panel(axis: Axes, part: pd.DataFrame) -> None:
    datasets = in_order(part.dataset, DATASETS)
    percent = part.assign(**{each: 100 * part[each] for each in ("value", "low", "high")})
    draw_bars(axis, percent, datasets, "dataset")
    chance = 100 * part.groupby("dataset").chance.first()
    for place, name in enumerate(datasets):
        axis.hlines(chance[name], place - 0.45, place + 0.45, color=INK, lw=1, ls=DASHES, zorder=4)
    # Ten sets stand beside each other: their names break where they can.
    names = [shown(label(name, DATASETS), _NAME) for name in datasets]
    names = [name.replace(" (", "\n(").replace("-", "-\n") for name in names]
    axis.set_xticks(range(len(datasets)), names)
    # The t interval of two seeds may reach beyond what an accuracy can be.
    axis.set(ylabel="accuracy (%)", ylim=(0, min(100, axis.get_ylim()[1])))
