"""Saturation: the factor 1 − p of InfoNCE's gradient, which vanishes as training succeeds."""

import pandas as pd
from matplotlib.figure import Figure

from cloob.common.errors import InputError
from cloob.report.load.inputs import Inputs
from cloob.report.load.logs import read_logs
from cloob.report.load.result_files import RUN_KEYS
from cloob.report.names import Labels
from cloob.report.registry import Entry
from cloob.report.render.lines import draw_lines
from cloob.report.render.panels import objectives_of, panels
from cloob.report.render.style import ONE_COLUMN, TWO_COLUMNS, add_title, legend_handles, new_figure
from cloob.report.stats.intervals import FRACTION

FIGURE = Entry(
    category="Training",
    help="the factor 1 − p of InfoNCE's gradient during training",
    caption="The factor 1 − p of InfoNCE's gradient on held-out pairs after each epoch, computed from the "
    "vectors that each objective compares (embeddings or retrieved patterns). Lines are means over seeds, "
    "bands their 95% confidence intervals (Student's t on the logit scale, from three seeds on), thin "
    "vertical lines the range of two seeds. InfoLOOB's gradient does not have this factor; its lines show "
    "the value it would have.",
    inputs=("logs",),
)


def read(inputs: Inputs) -> pd.DataFrame:
    """1 − p, mean over held-out pairs, after each epoch: the columns of `RUN_KEYS`, epoch, value."""
    rows = []
    for log in read_logs(inputs.results):
        values = [
            [*log.identity.values(), event["epoch"], event["saturation"]]
            for event in log.validations
            if "saturation" in event
        ]
        if not values:
            raise InputError(f"{log.path}: its validation events have no saturation; train the run again")
        rows += values
    return pd.DataFrame(rows, columns=[*RUN_KEYS, "epoch", "value"])


def draw(data: pd.DataFrame, labels: Labels) -> Figure:
    """A panel per corpus and architecture."""
    columns = panels(data, labels)
    figure = new_figure(height=2.5, width=ONE_COLUMN if len(columns) == 1 else TWO_COLUMNS)
    axes = figure.subplots(1, len(columns), squeeze=False, sharey=True)[0]
    for (name, part), axis in zip(columns, axes, strict=True):
        draw_lines(axis, part, FRACTION)
        axis.set_title(name if len(columns) < 3 else name.replace(" · ", "\n"))
        axis.set_xlabel("epoch")
    # After drawing: the limits are those of all panels, with room for the bands.
    axes[0].set(ylabel="1 − p, mean over pairs", ylim=(0, None))
    legend = legend_handles(objectives_of(data), markers=True)
    add_title(figure, "Saturation: the gradient factor of InfoNCE", labels, legend)
    return figure
