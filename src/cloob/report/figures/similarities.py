"""Cosine similarities of matched and unmatched pairs: how well the objectives separate them."""

import textwrap
from typing import Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from cloob.common.errors import InputError
from cloob.report.load.embedding_structure import PROTOCOL
from cloob.report.load.inputs import Inputs
from cloob.report.load.released import RELEASED, add_baselines, split_baselines
from cloob.report.load.result_files import RUN_KEYS, distinct_results, nested
from cloob.report.names import OBJECTIVE_TITLES, Labels
from cloob.report.registry import Entry
from cloob.report.render.baselines import baseline_styles
from cloob.report.render.panels import objectives_of, panels
from cloob.report.render.style import FAINT, PALETTE, add_title, figure_text, new_figure

FIGURE = Entry(
    category="Embeddings",
    help="cosine similarities of matched and unmatched pairs",
    caption="Cosine similarities of held-out images with their own captions (filled) and with all other "
    "captions (line) at the last evaluated epoch, all seeds together.",
    inputs=("embedding_structure", "baseline_structure"),
)
_PAIRS = ("matched", "unmatched")
_TAIL = 0.001  # fraction of the pairs at either end of a histogram that is not shown
_MAX_COLUMNS = 6  # more released models than that have no room
_TITLE_CHARACTERS = 78  # of the titles of all columns side by side
_MAX_TITLE = 60  # characters of a released model's title, without the word before it
_LINE_HEIGHT = 0.15  # inches, of a title


def read(inputs: Inputs) -> pd.DataFrame:
    """Histograms: the columns of `RUN_KEYS`, epoch, pairs (matched, unmatched), low, high, value (count).

    Baselines have architecture, pairs, low, high and value.
    """
    parts = [
        pd.DataFrame(_bins(content)).assign(**identity)
        for identity, content in distinct_results(inputs.results, PROTOCOL)
    ]
    data = pd.concat(parts, ignore_index=True)[[*RUN_KEYS, "epoch", "pairs", "low", "high", "value"]]
    return add_baselines(data, inputs, PROTOCOL, _bins)


def _bins(content: dict[str, Any]) -> list[dict[str, Any]]:
    edges = nested(content, "similarities", "edges")
    rows = []
    for pairs in _PAIRS:
        counts = nested(content, "similarities", pairs)
        if len(counts) != len(edges) - 1:
            raise InputError(
                f"{content['path']}: {len(counts)} counts of {pairs} similarities for {len(edges)} edges; "
                "evaluate the checkpoint again"
            )
        bins = zip(edges, edges[1:], counts, strict=False)
        rows += [{"pairs": pairs, "low": low, "high": high, "value": count} for low, high, count in bins]
    return rows


def draw(data: pd.DataFrame, labels: Labels) -> Figure:
    """A row per corpus and architecture at its last epoch, a column per objective; seeds are pooled.

    Released models of the same architecture have panels of their own on the right, up to `_MAX_COLUMNS`.
    """
    runs, baselines = split_baselines(data)
    rows, objectives = panels(runs, labels), objectives_of(runs)
    baselines = baselines[baselines.architecture.isin(runs.architecture)]
    styles = baseline_styles(baselines)
    room = max(0, _MAX_COLUMNS - len(objectives))
    models = {
        architecture: list(dict.fromkeys(part[RELEASED]))[:room]
        for architecture, part in baselines.groupby("architecture")
    }
    columns = len(objectives) + max(map(len, models.values()), default=0)
    titles = {title: _model_title(title, _TITLE_CHARACTERS // columns) for title in styles}
    lines = max((title.count("\n") for title in titles.values()), default=0)
    figure = new_figure(height=0.95 + (1.5 + _LINE_HEIGHT * lines) * len(rows))
    axes = figure.subplots(len(rows), columns, squeeze=False, sharex="row", sharey="row")
    for (name, part), row_axes in zip(rows, axes, strict=True):
        last = part[part.epoch == part.epoch.max()]
        histograms = [
            (OBJECTIVE_TITLES[objective], last[last.objective == objective], PALETTE[objective])
            for objective in objectives
        ]
        histograms += [
            (titles[model], baselines[baselines[RELEASED] == model], styles[model]["color"])
            for model in models.get(part.architecture.iloc[0], [])
        ]
        visible = _visible_range([histogram for _, histogram, _ in histograms])
        for (title, histogram, color), axis in zip(histograms, row_axes, strict=False):
            _draw_histogram(axis, histogram, color)
            axis.set(xlim=visible, xlabel="cosine similarity", yticks=[])
            axis.set_title(title)
            axis.spines["left"].set_visible(False)
        for axis in row_axes[len(histograms) :]:
            axis.set_axis_off()
        row_axes[0].set_ylabel("\n".join([*name.split(" · "), f"epoch {last.epoch.iloc[0]}"]))
    legend = [
        Patch(color="0.35", alpha=0.75, label="matched pairs (in color)"),
        Patch(fill=False, edgecolor=FAINT, label="unmatched pairs"),
    ]
    add_title(figure, "Similarities of images and captions", labels, legend)
    return figure


def _model_title(model: str, width: int) -> str:
    return "\n".join(textwrap.wrap(f"released: {figure_text(model, _MAX_TITLE)}", width))


def _draw_histogram(axis: Axes, data: pd.DataFrame, color: Any) -> None:
    """Densities of matched (filled) and unmatched pairs (line); seeds are pooled."""
    pooled = data.groupby(["pairs", "low", "high"]).value.sum()
    for pairs in _PAIRS if len(pooled) else ():
        counts = pooled[pairs].reset_index()
        density = counts.value / (counts.value.sum() * (counts.high - counts.low))
        edges = [*counts.low, counts.high.iloc[-1]]
        if pairs == "matched":
            axis.stairs(density, edges, fill=True, color=color, lw=1.1, alpha=0.75, zorder=2)
        else:
            axis.stairs(density, edges, color=FAINT, lw=1.1, zorder=3)


def _visible_range(histograms: list[pd.DataFrame]) -> tuple[float, float]:
    """The range of all histograms without their tails."""
    lows, highs = [], []
    for _, part in (group for data in histograms for group in data.groupby("pairs")):
        counts = part.groupby(["low", "high"]).value.sum().reset_index()
        cumulative = counts.value.cumsum() / counts.value.sum()
        lows.append(counts.low[cumulative > _TAIL].iloc[0])
        highs.append(counts.high[cumulative >= 1 - _TAIL].iloc[0])
    return min(lows), max(highs)
