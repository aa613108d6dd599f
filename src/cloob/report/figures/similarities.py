"""Cosine similarities of matched and unmatched pairs: how far apart the two are pushed."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from cloob.common.errors import InputError
from cloob.report.figures.inputs import RUN, number, objectives_of, panels, results
from cloob.report.figures.structure import PROTOCOL
from cloob.report.names import OBJECTIVES, label
from cloob.report.render.style import FAINT, PALETTE, new_figure, title

PAIRS = ("matched", "unmatched")
_BEYOND = 0.001  # less than this share of the pairs at either end is not shown


def read(inputs: Sequence[Path]) -> pd.DataFrame:
    """Histograms: the columns of `RUN`, epoch, pairs (matched, unmatched), low, high, value (count)."""
    parts = []
    for identity, content in results(inputs, PROTOCOL):
        edges = np.asarray(number(content, "similarities", "edges"), dtype=float)
        for pairs in PAIRS:
            counts = np.asarray(number(content, "similarities", pairs))
            if len(counts) != len(edges) - 1:
                raise InputError(
                    f"{content['run']['name']}, epoch {identity['epoch']}: {len(counts)} counts of {pairs} "
                    f"similarities for {len(edges)} edges; evaluate the checkpoint again"
                )
            part = {**identity, "pairs": pairs, "low": edges[:-1], "high": edges[1:], "value": counts}
            parts.append(pd.DataFrame(part))
    return pd.concat(parts, ignore_index=True)[[*RUN, "epoch", "pairs", "low", "high", "value"]]


def draw(data: pd.DataFrame, mark: str) -> Figure:
    """A row per corpus and architecture at its last epoch, a column per objective; seeds are pooled."""
    rows, objectives = panels(data), objectives_of(data)
    figure = new_figure(height=0.95 + 1.5 * len(rows))
    axes = figure.subplots(len(rows), len(objectives), squeeze=False, sharex="row", sharey="row")
    for (name, part), line in zip(rows, axes, strict=True):
        last = part[part.epoch == part.epoch.max()]
        for objective, axis in zip(objectives, line, strict=True):
            pooled = last[last.objective == objective].groupby(["pairs", "low", "high"]).value.sum()
            for pairs in PAIRS if len(pooled) else ():
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
            axis.set(xlim=_shown(last), xlabel="cosine similarity", yticks=[])
            axis.set_title(label(objective, OBJECTIVES))
            axis.spines["left"].set_visible(False)
        line[0].set_ylabel("\n".join([*name.split(" · "), f"epoch {last.epoch.iloc[0]}"]))
    legend = [
        Patch(color="0.35", alpha=0.75, label="matched pairs (in the objective's colour)"),
        Patch(fill=False, edgecolor=FAINT, label="unmatched pairs"),
    ]
    title(figure, "Similarities of images and captions", mark, legend)
    return figure


def _shown(data: pd.DataFrame) -> tuple[float, float]:
    """The range that holds all but the ends of both histograms."""
    lows, highs = [], []
    for _, part in data.groupby(["pairs", "objective"]):
        counts = part.groupby(["low", "high"]).value.sum().reset_index()
        reached = counts.value.cumsum() / counts.value.sum()
        lows.append(counts.low[reached > _BEYOND].iloc[0])
        highs.append(counts.high[reached >= 1 - _BEYOND].iloc[0])
    return min(lows), max(highs)
