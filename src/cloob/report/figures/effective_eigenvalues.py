"""The paper's bar chart: how many more effective eigenvalues than at the first epoch that was looked at."""

from collections.abc import Sequence
from pathlib import Path

import pandas as pd
from matplotlib.figure import Figure

from cloob.report.figures.inputs import RUN
from cloob.report.figures.structure import bars_of_towers, read_metric, with_published


def read(inputs: Sequence[Path]) -> pd.DataFrame:
    """Relative increase of effective eigenvalues over each run's first epoch; that epoch is left out.

    Columns of `RUN`, epoch, tower, value (a fraction), reference (the first epoch), source.
    """
    increases = relative_increase(read_metric(inputs, "effective_eigenvalues"))
    later = increases[increases.epoch > increases.reference]
    # A run looked at once has no increase yet; its zero is what can be said of it.
    shown = later if len(later) else increases
    return with_published(shown, inputs, "fig_effective_eigenvalues")


def relative_increase(counts: pd.DataFrame) -> pd.DataFrame:
    """value(epoch) / value(first epoch) − 1 per run and tower; the first epoch as column `reference`."""
    ordered = counts.sort_values("epoch", kind="stable")
    first = ordered.groupby([*RUN, "tower"])[["epoch", "value"]].transform("first")
    return ordered.assign(value=ordered.value / first.value - 1, reference=first.epoch).sort_index()


def draw(data: pd.DataFrame, mark: str) -> Figure:
    """A row per corpus and architecture, a column per tower, a group of bars per epoch; in percent."""
    return bars_of_towers(
        data.assign(value=100 * data.value),
        "Effective eigenvalues: how much of the embedding space is used",
        lambda part: f"increase since epoch {int(part.reference.min())} (%)",
        mark,
    )
