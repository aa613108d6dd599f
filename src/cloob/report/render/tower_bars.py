"""Bar charts of an embedding metric of both towers over epochs, compared with a figure of the paper."""

from collections.abc import Callable

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from cloob.report.load.embedding_structure import MEASURED, PUBLISHED, TOWERS
from cloob.report.load.released import split_baselines
from cloob.report.names import Labels
from cloob.report.render.bars import bar_legend, draw_bars
from cloob.report.render.baselines import baseline_legend, baseline_styles, draw_across
from cloob.report.render.panels import objectives_of, panels
from cloob.report.render.style import INK, add_title, legend_handles, new_figure


def draw_tower_bars(
    data: pd.DataFrame, title: str, y_label: Callable[[pd.DataFrame], str], labels: Labels
) -> Figure:
    """A row per corpus and architecture, a column per tower, a group of bars per epoch."""
    runs, baselines = split_baselines(data)
    baselines = baselines[baselines.architecture.isin(runs.architecture)]
    styles = baseline_styles(baselines)
    rows = panels(runs, labels)
    figure = new_figure(height=0.95 + 1.6 * len(rows))
    axes = figure.subplots(len(rows), len(TOWERS), squeeze=False, sharey="row")
    for (name, part), row_axes in zip(rows, axes, strict=True):
        epochs = sorted(part.epoch.unique())
        for tower, axis in zip(TOWERS, row_axes, strict=True):
            of_tower = part[part.tower == tower]
            positions = draw_bars(axis, of_tower[of_tower.source == MEASURED], epochs, "epoch")
            _draw_published(axis, of_tower[of_tower.source == PUBLISHED], positions)
            draw_across(axis, baselines[_is_of(baselines, part, tower)], styles)
            axis.set_xticks(range(len(epochs)), [f"epoch {epoch}" for epoch in epochs])
            axis.set_title(f"{name} · {tower}s")
        row_axes[0].set_ylabel(y_label(part[part.source == MEASURED]))
    legend = [*legend_handles(objectives_of(runs)), *bar_legend(runs[runs.source == MEASURED])]
    legend += _published_legend(runs)
    add_title(figure, title, labels, legend, baseline_legend(styles))
    return figure


def _is_of(baselines: pd.DataFrame, part: pd.DataFrame, tower: str) -> pd.Series:
    return (baselines.architecture == part.architecture.iloc[0]) & (baselines.tower == tower)


def _draw_published(axis: Axes, published: pd.DataFrame, positions: dict[tuple, float]) -> None:
    """A cross at the paper's value on each bar that has one."""
    for row in published.itertuples():
        if (row.epoch, row.objective) in positions:
            x = positions[row.epoch, row.objective]
            axis.plot(x, row.value, "x", ms=4, color=INK, mew=1, zorder=5, gid=PUBLISHED)


def _published_legend(data: pd.DataFrame) -> list[Line2D]:
    cross = Line2D([], [], ls="", marker="x", ms=4, color=INK, mew=1, label=PUBLISHED)
    return [cross] if (data.source == PUBLISHED).any() else []
