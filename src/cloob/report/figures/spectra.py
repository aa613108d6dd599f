"""Covariance spectra of the embeddings: how quickly the eigenvalues fall, and how many count."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, NullLocator

from cloob.report.figures.inputs import RUN, number, objectives_of, panels, results
from cloob.report.figures.structure import PROTOCOL, TOWERS
from cloob.report.render.style import FAINT, INK, MARKERS, PALETTE, handles, new_figure, title

_EFFECTIVE = 0.99  # the effective eigenvalues are the fewest with this share of the sum (method of the paper)
_FLOOR = 1e-6  # shares of the sum below this are rounding errors of float32 embeddings


def read(inputs: Sequence[Path]) -> pd.DataFrame:
    """Eigenvalues as shares of their sum: the columns of `RUN`, epoch, tower, rank (from 1), value."""
    parts = []
    for identity, content in results(inputs, PROTOCOL):
        for tower in TOWERS:
            spectrum = np.asarray(number(content, "spectrum", tower), dtype=float)
            share = spectrum / spectrum.sum()
            part = {**identity, "tower": tower, "rank": np.arange(1, len(share) + 1), "value": share}
            parts.append(pd.DataFrame(part))
    return pd.concat(parts, ignore_index=True)[[*RUN, "epoch", "tower", "rank", "value"]]


def draw(data: pd.DataFrame, mark: str) -> Figure:
    """A row per corpus and architecture at its last epoch, a column per tower; a thin line is a seed."""
    rows = panels(data)
    figure = new_figure(height=0.95 + 1.75 * len(rows))
    axes = figure.subplots(len(rows), len(TOWERS), squeeze=False, sharex="row", sharey="row")
    for (name, part), pair in zip(rows, axes, strict=True):
        last = part[part.epoch == part.epoch.max()]
        for tower, axis in zip(TOWERS, pair, strict=True):
            for (objective, _), line in last[last.tower == tower].groupby(["objective", "seed"], sort=False):
                shown = line[line.value > _FLOOR]
                axis.plot(shown["rank"], shown.value, color=PALETTE[objective], lw=0.9, alpha=0.8)
                # The smallest k whose k largest eigenvalues reach 99 % of the sum.
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
        pair[0].set_ylabel("share of the variance")
    effective = Line2D([], [], ls="", marker="o", ms=4, color=INK, label="99 % of the variance up to here")
    title(figure, "Covariance spectra", mark, [*handles(objectives_of(data), markers=True), effective])
    return figure


def _power_of_ten(value: float, _: object = None) -> str:
    """A tick of a logarithmic axis without math markup: 10⁻³."""
    exponent = str(round(np.log10(value))).translate(str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹"))
    return f"10{exponent}"
