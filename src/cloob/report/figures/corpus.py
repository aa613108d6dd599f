"""The corpora at a glance: sizes, shapes and captions of the pairs, and where the rest of a list was lost."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import FuncFormatter, NullLocator

from cloob.report.names import CORPORA, label
from cloob.report.render.style import INK, new_figure, save_figure, shown, styled, title
from cloob.report.tables.corpus import LOSSES, MEASURES, PAPERS_SHARE, Split, corpora_table, read_manifest

COLUMNS = ["corpus", "split", "measure", "from", "to", "share"]
_KEPT, _PAPER = "pairs", "pairs in the paper"
_LOGARITHMIC = ("aspect_ratio", "image_kilobytes")


def report_corpus_figure(
    manifests: Sequence[tuple[Split, Path]],
    outcomes: Sequence[tuple[str, Path]],
    png: Path,
    mark: str,
) -> None:
    """Draw the histograms that the shards' manifests hold and the losses of the books; the points drawn go
    beside the figure as CSV. Raises `InputError`.
    """
    rows = [*_shares(manifests), *_losses(corpora_table(manifests, outcomes, mark))]
    points = pd.DataFrame(rows, columns=COLUMNS)
    with styled():
        save_figure(corpus_figure(points, mark), points, png, [path for _, path in [*manifests, *outcomes]])


def corpus_figure(points: pd.DataFrame, mark: str) -> Figure:
    """A panel per measure, a line per split; in the last panel a bar per split: pairs and losses."""
    splits = list(dict.fromkeys(zip(points.corpus, points.split, strict=True)))
    colours = dict(zip(splits, sns.color_palette("colorblind"), strict=False))
    figure = new_figure(height=4.4)
    axes = figure.subplots(2, 3).ravel()
    for axis, (measure, words) in zip(axes, MEASURES.items(), strict=False):
        for split in splits:
            _draw(axis, _of(points, split, measure), colours[split])
        if measure in _LOGARITHMIC:
            axis.set_xscale("log", base=2)
            axis.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
            axis.xaxis.set_minor_locator(NullLocator())
        found = points[(points.measure == measure) & (points.share > 0)]
        axis.set(
            xlabel=words, ylabel="pairs (%)", ylim=(0, None), xlim=(found["from"].min(), found["to"].max())
        )
    parts = _draw_losses(axes[len(MEASURES)], points, splits)
    names = [f"{shown(label(corpus, CORPORA), 24)}, {shown(split, 24)}" for corpus, split in splits]
    legend: list[Any] = [
        Line2D([], [], color=colours[split], lw=2, label=name)
        for split, name in zip(splits, names, strict=True)
    ]
    title(figure, "The corpora", mark, legend)
    axes[len(MEASURES)].legend(
        handles=parts, loc="lower center", bbox_to_anchor=(0.4, 1.0), fontsize=6, ncols=2
    )
    return figure


def _draw(axis: Axes, bins: pd.DataFrame, colour: Any) -> None:
    edges = np.append(bins["from"].to_numpy(), bins["to"].to_numpy()[-1:])
    axis.stairs(100 * bins.share.to_numpy(), edges, color=colour, lw=1.1)


def _draw_losses(axis: Axes, points: pd.DataFrame, splits: Sequence[Split]) -> list[Any]:
    shades = dict(zip([_KEPT, *LOSSES.values()], ("0.35", "#d55e00", "#e69f00", "#f0e442"), strict=True))
    for place, split in enumerate(splits):
        start = 0.0
        for part, shade in shades.items():
            share = 100 * _of(points, split, part).share.sum()
            axis.barh(place, share, left=start, color=shade, height=0.6, lw=0)
            start += share
        for share in 100 * _of(points, split, _PAPER).share:
            axis.plot([share, share], [place - 0.4, place + 0.4], color=INK, lw=1.5)
    axis.set(xlabel="share of the list (%)", xlim=(0, 100), yticks=range(len(splits)))
    axis.set_yticklabels([f"{shown(corpus, 12)}\n{shown(split, 12)}" for corpus, split in splits])
    axis.invert_yaxis()
    entries: list[Any] = [Patch(color=shade, label=part) for part, shade in shades.items()]
    if (points.measure == _PAPER).any():
        entries.append(Line2D([], [], color=INK, lw=1.5, label=_PAPER))
    return entries


def _of(points: pd.DataFrame, split: Split, measure: str) -> pd.DataFrame:
    return points[(points.corpus == split[0]) & (points.split == split[1]) & (points.measure == measure)]


def _shares(manifests: Sequence[tuple[Split, Path]]) -> list[tuple[object, ...]]:
    """The histograms, as shares of the pairs."""
    rows: list[tuple[object, ...]] = []
    for split, path in manifests:
        manifest = read_manifest(path)
        for measure in MEASURES:
            of = manifest["statistics"][measure]
            rows += [
                (*split, measure, low, high, count / manifest["samples"])
                for low, high, count in zip(of["edges"], of["edges"][1:], of["counts"], strict=False)
            ]
    return rows


def _losses(table: pd.DataFrame) -> list[tuple[object, ...]]:
    """What became of each list, as shares of its rows."""
    rows: list[tuple[object, ...]] = []
    for corpus, split in dict.fromkeys(zip(table.corpus, table.split, strict=True)):
        of = table[(table.corpus == corpus) & (table.split == split)].set_index("quantity").value
        for part in (_KEPT, *LOSSES.values()):
            if part in of:
                rows.append((corpus, split, part, None, None, of[part] / of["rows of the list"]))
        if PAPERS_SHARE in of:
            rows.append((corpus, split, _PAPER, None, None, of[PAPERS_SHARE] / 100))
    return rows
