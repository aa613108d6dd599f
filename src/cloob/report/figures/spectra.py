"""Covariance spectra of the embeddings, and the number of effective eigenvalues."""

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, NullLocator

from cloob.report.load.embedding_structure import PROTOCOL, TOWERS
from cloob.report.load.inputs import Inputs
from cloob.report.load.result_files import RUN_KEYS, distinct_results, nested
from cloob.report.names import Labels
from cloob.report.registry import Entry
from cloob.report.render.panels import objectives_of, panels
from cloob.report.render.style import (
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
    inputs=("embedding_structure",),
)
_EFFECTIVE = 0.99  # effective eigenvalues are the fewest with this fraction of the sum (as in the paper)
_FLOOR = 1e-6  # smaller fractions are rounding errors of float32 embeddings


def read(inputs: Inputs) -> pd.DataFrame:
    """Eigenvalues as fractions of their sum: columns of `RUN_KEYS`, epoch, tower, rank (from 1), value."""
    parts = []
    for identity, content in distinct_results(inputs.results, PROTOCOL):
        for tower in TOWERS:
            spectrum = np.asarray(nested(content, "spectrum", tower), dtype=float)
            fractions = spectrum / spectrum.sum()
            rank = np.arange(1, len(fractions) + 1)
            parts.append(pd.DataFrame({**identity, "tower": tower, "rank": rank, "value": fractions}))
    return pd.concat(parts, ignore_index=True)[[*RUN_KEYS, "epoch", "tower", "rank", "value"]]


def draw(data: pd.DataFrame, labels: Labels) -> Figure:
    """A row per corpus and architecture at its last epoch, a column per tower, a thin line per seed."""
    rows = panels(data, labels)
    figure = new_figure(height=0.95 + 1.75 * len(rows))
    axes = figure.subplots(len(rows), len(TOWERS), squeeze=False, sharex="row", sharey="row")
    for (name, part), row_axes in zip(rows, axes, strict=True):
        last = part[part.epoch == part.epoch.max()]
        for tower, axis in zip(TOWERS, row_axes, strict=True):
            for (objective, _), line in last[last.tower == tower].groupby(["objective", "seed"], sort=False):
                visible = line[line.value > _FLOOR]
                axis.plot(visible["rank"], visible.value, color=PALETTE[objective], lw=0.9, alpha=0.8)
                effective = int(np.searchsorted(line.value.cumsum(), _EFFECTIVE))
                effective = min(effective, len(line) - 1)
                axis.plot(
                    line["rank"].iloc[effective],
                    line.value.iloc[effective],
                    MARKERS[objective],
                    ms=4,
                    color=PALETTE[objective],
                    mec="white",
                    mew=0.5,
                    zorder=3,
                )
            axis.set(yscale="log", xlabel="rank of the eigenvalue", xlim=(0, None))
            axis.yaxis.set_major_formatter(FuncFormatter(_power_of_ten))
            axis.yaxis.set_minor_locator(NullLocator())
            axis.set_title(f"{name} · epoch {last.epoch.iloc[0]} · {tower}s")
            axis.grid(axis="y", color=FAINT, alpha=0.25, lw=0.5)
        row_axes[0].set_ylabel("fraction of the variance")
    marker = Line2D([], [], ls="", label="(marker: 99% of the variance reached)")
    legend = [*legend_handles(objectives_of(data), markers=True), marker]
    add_title(figure, "Covariance spectra of the embeddings", labels, legend)
    return figure


def _power_of_ten(value: float, _: object = None) -> str:
    """A tick label of a logarithmic axis without math markup: 10⁻³."""
    exponent = str(round(np.log10(value))).translate(str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹"))
    return f"10{exponent}"
