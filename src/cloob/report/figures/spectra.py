"""Covariance spectra of the embeddings, and the number of effective eigenvalues."""

from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, NullLocator

from cloob.report.load.embedding_structure import PROTOCOL, TOWERS
from cloob.report.load.inputs import Inputs
from cloob.report.load.released import RELEASED, add_baselines, split_baselines
from cloob.report.load.result_files import RUN_KEYS, distinct_results, nested
from cloob.report.names import Labels
from cloob.report.registry import Entry
from cloob.report.render.baselines import Styles, baseline_legend, baseline_styles
from cloob.report.render.panels import objectives_of, panels
from cloob.report.render.style import (
    DASHES,
    FAINT,
    MARKERS,
    PALETTE,
    add_title,
    legend_handles,
    new_figure,
)

FIGURE = Entry(
    category="Embeddings",
    help="covariance spectra of the embeddings",
    caption="Eigenvalues of the covariance of the embeddings of held-out pairs at the last evaluated epoch, "
    "as fractions of their sum; a line per seed. Markers show where 99% of the sum is reached.",
    inputs=("embedding_structure", "baseline_structure"),
)
_EFFECTIVE = 0.99  # effective eigenvalues are the fewest with this fraction of the sum (as in the paper)
_FLOOR = 1e-6  # smaller fractions are rounding errors of float32 embeddings


def read(inputs: Inputs) -> pd.DataFrame:
    """Eigenvalues as fractions of their sum: columns of `RUN_KEYS`, epoch, tower, rank (from 1), value.

    Baselines have architecture, tower, rank and value.
    """
    parts = [
        pd.DataFrame(_fractions(content)).assign(**identity)
        for identity, content in distinct_results(inputs.results, PROTOCOL)
    ]
    data = pd.concat(parts, ignore_index=True)[[*RUN_KEYS, "epoch", "tower", "rank", "value"]]
    return add_baselines(data, inputs, PROTOCOL, _fractions)


def _fractions(content: dict[str, Any]) -> list[dict[str, Any]]:
    rows = []
    for tower in TOWERS:
        spectrum = np.asarray(nested(content, "spectrum", tower), dtype=float)
        fractions = enumerate(spectrum / spectrum.sum(), start=1)
        rows += [{"tower": tower, "rank": rank, "value": value} for rank, value in fractions]
    return rows


def draw(data: pd.DataFrame, labels: Labels) -> Figure:
    """A row per corpus and architecture at its last epoch, a column per tower, a thin line per seed."""
    runs, baselines = split_baselines(data)
    baselines = baselines[baselines.architecture.isin(runs.architecture)]
    styles = baseline_styles(baselines)
    rows = panels(runs, labels)
    figure = new_figure(height=0.95 + 1.75 * len(rows))
    axes = figure.subplots(len(rows), len(TOWERS), squeeze=False, sharex="row", sharey="row")
    for (name, part), row_axes in zip(rows, axes, strict=True):
        last = part[part.epoch == part.epoch.max()]
        comparable = baselines[baselines.architecture == part.architecture.iloc[0]]
        for tower, axis in zip(TOWERS, row_axes, strict=True):
            _draw_panel(axis, last[last.tower == tower], comparable[comparable.tower == tower], styles)
            axis.set_title(f"{name} · epoch {last.epoch.iloc[0]} · {tower}s")
        row_axes[0].set_ylabel("fraction of the variance")
    marker = Line2D([], [], ls="", label="(marker: 99% of the variance reached)")
    legend = [*legend_handles(objectives_of(runs), markers=True), marker]
    add_title(figure, "Covariance spectra of the embeddings", labels, legend, baseline_legend(styles))
    return figure


def _draw_panel(axis: Axes, runs: pd.DataFrame, baselines: pd.DataFrame, styles: Styles) -> None:
    """The spectra of one tower; those of baselines are dashed."""
    for (objective, _), line in runs.groupby(["objective", "seed"], sort=False):
        style = {"color": PALETTE[objective], "marker": MARKERS[objective]}
        _draw_spectrum(axis, line, style | {"lw": 0.9, "alpha": 0.8, "ms": 4})
    for title, line in baselines.groupby(RELEASED, sort=False):
        _draw_spectrum(axis, line, styles[title] | {"ls": DASHES, "lw": 0.9, "ms": 4, "gid": RELEASED})
    axis.set(yscale="log", xlabel="rank of the eigenvalue", xlim=(0, None))
    axis.yaxis.set_major_formatter(FuncFormatter(_power_of_ten))
    axis.yaxis.set_minor_locator(NullLocator())
    axis.grid(axis="y", color=FAINT, alpha=0.25, lw=0.5)


def _draw_spectrum(axis: Axes, line: pd.DataFrame, style: dict[str, Any]) -> None:
    """A line, and a marker at the last effective eigenvalue."""
    visible = line[line.value > _FLOOR]
    axis.plot(visible["rank"], visible.value, **style | {"marker": None})
    effective = min(int(np.searchsorted(line.value.cumsum(), _EFFECTIVE)), len(line) - 1)
    at = line.iloc[[effective]]
    axis.plot(at["rank"], at.value, **style | {"ls": "", "alpha": 1, "mec": "white", "mew": 0.5, "zorder": 3})


def _power_of_ten(value: float, _: object = None) -> str:
    """A tick label of a logarithmic axis without math markup: 10⁻³."""
    exponent = str(round(np.log10(value))).translate(str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹"))
    return f"10{exponent}"
