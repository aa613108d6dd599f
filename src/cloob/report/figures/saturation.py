"""Saturation: the factor 1 − p of InfoNCE's gradient, and how it dies while training succeeds."""

from collections.abc import Sequence
from pathlib import Path

import pandas as pd
from matplotlib.figure import Figure

from cloob.common.errors import InputError
from cloob.report.figures.inputs import RUN, logs, objectives_of, panels
from cloob.report.figures.lines import draw_lines
from cloob.report.render.style import ONE_COLUMN, TWO_COLUMNS, handles, new_figure, title


def read(inputs: Sequence[Path]) -> pd.DataFrame:
    """1 − p on held-out pairs after each epoch: the columns of `RUN`, epoch, value. Raises `InputError`."""
    rows = []
    for path, run, events in logs(inputs, validation=["epoch"]):
        found = [
            [*run.values(), event["epoch"], event["saturation"]]
            for event in events
            if event["event"] == "validation" and "saturation" in event
        ]
        if not found:
            raise InputError(f"{path}: its validation events have no saturation; train the run again")
        rows += found
    return pd.DataFrame(rows, columns=[*RUN, "epoch", "value"])


def draw(data: pd.DataFrame, mark: str) -> Figure:
    """A panel per corpus and architecture."""
    columns = panels(data)
    figure = new_figure(height=2.5, width=ONE_COLUMN if len(columns) == 1 else TWO_COLUMNS)
    axes = figure.subplots(1, len(columns), squeeze=False, sharey=True)[0]
    for (name, part), axis in zip(columns, axes, strict=True):
        draw_lines(axis, part)
        axis.set_title(name if len(columns) < 3 else name.replace(" · ", "\n"))
        axis.set(xlabel="epoch", ylim=(0, 1.08 * data.value.max()))
    axes[0].set_ylabel("1 − p, mean over pairs")
    title(
        figure,
        "Saturation: the gradient factor of InfoNCE",
        mark,
        handles(objectives_of(data), markers=True),
    )
    return figure
