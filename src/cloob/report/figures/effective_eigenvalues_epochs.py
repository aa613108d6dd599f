"""Effective eigenvalues over the epochs of training, relative to the first epoch that was looked at."""

from collections.abc import Sequence
from pathlib import Path

import pandas as pd
from matplotlib.figure import Figure

from cloob.report.figures.effective_eigenvalues import relative_increase
from cloob.report.figures.inputs import objectives_of, panels
from cloob.report.figures.lines import draw_lines
from cloob.report.figures.structure import TOWERS, read_metric
from cloob.report.render.style import handles, new_figure, title


def read(inputs: Sequence[Path]) -> pd.DataFrame:
    """As `effective_eigenvalues.read`, of every epoch."""
    return relative_increase(read_metric(inputs, "effective_eigenvalues"))


def draw(data: pd.DataFrame, mark: str) -> Figure:
    """A row per corpus and architecture, a column per tower; in percent."""
    rows = panels(data)
    figure = new_figure(height=0.95 + 1.6 * len(rows))
    axes = figure.subplots(len(rows), len(TOWERS), squeeze=False, sharex="row", sharey="row")
    for (name, part), pair in zip(rows, axes, strict=True):
        for tower, axis in zip(TOWERS, pair, strict=True):
            shown = part[part.tower == tower]
            draw_lines(axis, shown.assign(value=100 * shown.value))
            axis.set_title(f"{name} · {tower}s")
            axis.set_xlabel("epoch")
        pair[0].set_ylabel(f"increase since epoch {int(part.reference.min())} (%)")
    title(
        figure,
        "Effective eigenvalues while training",
        mark,
        handles(objectives_of(data), markers=True),
    )
    return figure
