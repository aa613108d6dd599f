"""Ajne's score of the embeddings, as the paper's bar chart: low is uniform on the sphere."""

from collections.abc import Sequence
from pathlib import Path

import pandas as pd
from matplotlib.figure import Figure

from cloob.report.figures.structure import bars_of_towers, read_metric, with_published


def read(inputs: Sequence[Path]) -> pd.DataFrame:
    """Ajne's score per run, epoch and tower: the columns of `RUN`, epoch, tower, value, source."""
    return with_published(read_metric(inputs, "ajne"), inputs, "fig_ajne_uniformity")


def draw(data: pd.DataFrame, mark: str) -> Figure:
    """A row per corpus and architecture, a column per tower, a group of bars per epoch."""
    return bars_of_towers(
        data,
        "Ajne's score: how far from uniform the embeddings lie",
        lambda _: "Ajne's score (low: uniform)",
        mark,
    )
