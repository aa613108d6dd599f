"""Cosine similarities of matched and unmatched pairs: how well the objectives separate them."""

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from cloob.common.errors import InputError
from cloob.report.load.embedding_structure import PROTOCOL
from cloob.report.load.inputs import Inputs
from cloob.report.load.result_files import RUN_KEYS, distinct_results, nested
from cloob.report.names import OBJECTIVE_TITLES, Labels
from cloob.report.registry import Entry
from cloob.report.render.panels import objectives_of, panels
from cloob.report.render.style import FAINT, PALETTE, add_title, new_figure

FIGURE = Entry(
    category="Embeddings",
    help="cosine similarities of matched and unmatched pairs",
    caption="Cosine similarities of held-out images with their own captions (filled) and with all other "
    "captions (line) at the last evaluated epoch, all seeds together.",
    inputs=("embedding_structure",),
)
_PAIRS = ("matched", "unmatched")
_TAIL = 0.001  # fraction of the pairs at either end of a histogram that is not shown


def read(inputs: Inputs) -> pd.DataFrame:
    """Histograms: the columns of `RUN_KEYS`, epoch, pairs (matched, unmatched), low, high, value (count)."""
    parts = []
    for identity, content in distinct_results(inputs.results, PROTOCOL):
        edges = np.asarray(nested(content, "similarities", "edges"), dtype=float)
        for pairs in _PAIRS:
            counts = np.asarray(nested(content, "similarities", pairs))
            if len(counts) != len(edges) - 1:
                raise InputError(
                    f"{content['run']['name']}, epoch {identity['epoch']}: {len(counts)} counts of {pairs} "
                    f"similarities for {len(edges)} edges; evaluate the checkpoint again"
                )
            part = {**identity, "pairs": pairs, "low": edges[:-1], "high": edges[1:], "value": counts}
            parts.append(pd.DataFrame(part))
    return pd.concat(parts, ignore_index=True)[[*RUN_KEYS, "epoch", "pairs", "low", "high", "value"]]


def draw(data: pd.DataFrame, labels: Labels) -> Figure:
    """A row per corpus and architecture at its last epoch, a column per objective; seeds are pooled."""
    rows, objectives = panels(data, labels), objectives_of(data)
    figure = new_figure(height=0.95 + 1.5 * len(rows))
    axes = figure.subplots(len(rows), len(objectives), squeeze=False, sharex="row", sharey="row")
    for (name, part), row_axes in zip(rows, axes, strict=True):
        last = part[part.epoch == part.epoch.max()]
        for objective, axis in zip(objectives, row_axes, strict=True):
            pooled = last[last.objective == objective].groupby(["pairs", "low", "high"]).value.sum()
            for pairs in _PAIRS if len(pooled) else ():
                counts = pooled[pairs].reset_index()
                density = counts.value / (counts.value.sum() * (counts.high - counts.low))
                edges = [*counts.low, counts.high.iloc[-1]]
                matched = pairs == "matched"
                axis.stairs(
                    density,
                    edges,
                    fill=matched,
                    color=PALETTE[objective] if matched else FAINT,
                    lw=1.1,
                    alpha=0.75 if matched else 1,
                    zorder=2 if matched else 3,
                )
            axis.set(xlim=_visible_range(last), xlabel="cosine similarity", yticks=[])
            axis.set_title(OBJECTIVE_TITLES[objective])
            axis.spines["left"].set_visible(False)
        row_axes[0].set_ylabel("\n".join([*name.split(" · "), f"epoch {last.epoch.iloc[0]}"]))
    legend = [
        Patch(color="0.35", alpha=0.75, label="matched pairs (in the color of the objective)"),
        Patch(fill=False, edgecolor=FAINT, label="unmatched pairs"),
    ]
    add_title(figure, "Similarities of images and captions", labels, legend)
    return figure


def _visible_range(data: pd.DataFrame) -> tuple[float, float]:
    """The range of all histograms without their tails."""
    lows, highs = [], []
    for _, part in data.groupby(["pairs", "objective"]):
        counts = part.groupby(["low", "high"]).value.sum().reset_index()
        cumulative = counts.value.cumsum() / counts.value.sum()
        lows.append(counts.low[cumulative > _TAIL].iloc[0])
        highs.append(counts.high[cumulative >= 1 - _TAIL].iloc[0])
    return min(lows), max(highs)
