"""The corpora: histograms of image sizes and caption lengths, and the rows rejected by each stage."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import FuncFormatter, NullLocator

from cloob.report.load.corpora import (
    MEASURES,
    PAIRS,
    PAPER_PAIRS,
    PAPER_SHARE,
    REJECTED,
    corpus_statistics,
    read_manifest,
)
from cloob.report.load.inputs import Inputs
from cloob.report.names import Labels
from cloob.report.registry import Entry
from cloob.report.render.panels import split_title
from cloob.report.render.style import INK, add_title, figure_text, new_figure

FIGURE = Entry(
    category="Data",
    help="histograms of image sizes, aspect ratios and caption lengths, and the rejected rows",
    caption="Image sizes, aspect ratios and caption lengths of the pairs of each corpus, and the percentage "
    "of its source rows that each stage rejected; vertical lines show the percentage that the paper's "
    "authors obtained.",
    inputs=("manifests", "outcomes"),
)
_COLUMNS = ["corpus", "split", "measure", "from", "to", "share"]
_LOGARITHMIC = ("aspect_ratio", "image_kilobytes")
_BAR_COLORS = ("0.35", "#d55e00", "#e69f00", "#f0e442")
_Split = tuple[str, str]


def read(inputs: Inputs) -> pd.DataFrame:
    """Histogram bins as shares of the pairs, and pairs and rejections as shares of the source rows."""
    rows = [*_histograms(inputs), *_list_shares(corpus_statistics(inputs))]
    return pd.DataFrame(rows, columns=_COLUMNS)


def draw(data: pd.DataFrame, labels: Labels) -> Figure:
    """A panel per measure with a line per split; the last panel has a bar per split: pairs and rejections."""
    splits = list(dict.fromkeys(zip(data.corpus, data.split, strict=True)))
    palette = "colorblind" if len(splits) <= 10 else "husl"  # the former has ten colors
    colors = dict(zip(splits, sns.color_palette(palette, len(splits)), strict=True))
    figure = new_figure(height=max(4.4, 1.2 + 0.64 * len(splits)))  # for the labels of the bars
    *axes, bar_axis = figure.subplots(2, 3).ravel()
    for axis, (measure, name) in zip(axes, MEASURES.items(), strict=True):
        for split in splits:
            _draw_histogram(axis, _select(data, split, measure), colors[split])
        if measure in _LOGARITHMIC:
            axis.set_xscale("log", base=2)
            axis.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
            axis.xaxis.set_minor_locator(NullLocator())
        occupied = data[(data.measure == measure) & (data.share > 0)]
        limits = (occupied["from"].min(), occupied["to"].max())
        axis.set(xlabel=name, ylabel="pairs (%)", ylim=(0, None), xlim=limits)
    bar_legend = _draw_bars(bar_axis, data, splits)
    legend: list[Any] = [
        Line2D([], [], color=colors[split], lw=2, label=split_title(labels, *split)) for split in splits
    ]
    add_title(figure, "Corpora", labels, legend)
    bar_axis.legend(handles=bar_legend, loc="lower center", bbox_to_anchor=(0.4, 1.0), fontsize=6, ncols=2)
    return figure


def _draw_histogram(axis: Axes, bins: pd.DataFrame, color: Any) -> None:
    edges = np.append(bins["from"].to_numpy(), bins["to"].to_numpy()[-1:])
    axis.stairs(100 * bins.share.to_numpy(), edges, color=color, lw=1.1)


def _draw_bars(axis: Axes, data: pd.DataFrame, splits: Sequence[_Split]) -> list[Any]:
    """A stacked bar per split; returns the legend entries."""
    colors = dict(zip([PAIRS, *REJECTED.values()], _BAR_COLORS, strict=True))
    for y, split in enumerate(splits):
        start = 0.0
        for part, color in colors.items():
            width = 100 * _select(data, split, part).share.sum()
            axis.barh(y, width, left=start, color=color, height=0.6, lw=0)
            start += width
        for x in 100 * _select(data, split, PAPER_PAIRS).share:
            axis.plot([x, x], [y - 0.4, y + 0.4], color=INK, lw=1.5)
    axis.set(xlabel="percent of the source rows", xlim=(0, 100), yticks=range(len(splits)))
    axis.set_yticklabels([f"{figure_text(corpus, 12)}\n{figure_text(split, 12)}" for corpus, split in splits])
    axis.invert_yaxis()
    entries: list[Any] = [Patch(color=color, label=part) for part, color in colors.items()]
    if (data.measure == PAPER_PAIRS).any():
        entries.append(Line2D([], [], color=INK, lw=1.5, label=PAPER_PAIRS))
    return entries


def _select(data: pd.DataFrame, split: _Split, measure: str) -> pd.DataFrame:
    return data[(data.corpus == split[0]) & (data.split == split[1]) & (data.measure == measure)]


def _histograms(inputs: Inputs) -> list[tuple[object, ...]]:
    rows: list[tuple[object, ...]] = []
    for split, path in inputs.manifests:
        manifest = read_manifest(path)
        for measure in MEASURES:
            histogram = manifest["statistics"][measure]
            edges = histogram["edges"]
            rows += [
                (*split, measure, low, high, count / manifest["samples"])
                for low, high, count in zip(edges, edges[1:], histogram["counts"], strict=False)
            ]
    return rows


def _list_shares(statistics: pd.DataFrame) -> list[tuple[object, ...]]:
    rows: list[tuple[object, ...]] = []
    for split, part in statistics.groupby(["corpus", "split"], sort=False):
        values = part.set_index("quantity").value
        parts = [quantity for quantity in (PAIRS, *REJECTED.values()) if quantity in values]
        total = values[parts].sum()  # the outcomes of all stages balance
        rows += [(*split, quantity, None, None, values[quantity] / total) for quantity in parts]
        if PAPER_SHARE in values:
            rows.append((*split, PAPER_PAIRS, None, None, values[PAPER_SHARE] / 100))
    return rows
