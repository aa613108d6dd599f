"""Effective eigenvalues over the epochs of training, relative to the first recorded epoch."""

import pandas as pd
from matplotlib.figure import Figure

from cloob.report.load.embedding_structure import TOWERS, read_tower_metric, relative_increase
from cloob.report.load.inputs import Inputs
from cloob.report.names import Labels
from cloob.report.registry import Entry
from cloob.report.render.lines import draw_lines
from cloob.report.render.panels import objectives_of, panels
from cloob.report.render.style import add_title, legend_handles, new_figure

FIGURE = Entry(
    category="Embeddings",
    help="relative increase of effective eigenvalues over the epochs",
    caption="Relative increase of the number of effective eigenvalues over the epochs of training. Lines are "
    "means over seeds, bands their 95% confidence intervals (Student's t, from three seeds on), thin "
    "vertical lines the range of two seeds.",
    inputs=("embedding_structure_all",),
)


def read(inputs: Inputs) -> pd.DataFrame:
    """Relative increase at every epoch: the columns of `RUN_KEYS`, epoch, tower, value, reference."""
    return relative_increase(read_tower_metric(inputs, "effective_eigenvalues"))


def draw(data: pd.DataFrame, labels: Labels) -> Figure:
    """A row per corpus and architecture, a column per tower; in percent."""
    rows = panels(data, labels)
    figure = new_figure(height=0.95 + 1.6 * len(rows))
    axes = figure.subplots(len(rows), len(TOWERS), squeeze=False, sharex="row", sharey="row")
    for (name, part), row_axes in zip(rows, axes, strict=True):
        for tower, axis in zip(TOWERS, row_axes, strict=True):
            of_tower = part[part.tower == tower]
            draw_lines(axis, of_tower.assign(value=100 * of_tower.value))
            axis.set_title(f"{name} · {tower}s")
            axis.set_xlabel("epoch")
        row_axes[0].set_ylabel(f"increase since epoch {int(part.reference.min())} (%)")
    legend = legend_handles(objectives_of(data), markers=True)
    add_title(figure, "Effective eigenvalues during training", labels, legend)
    return figure
