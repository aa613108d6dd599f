"""Training curves: losses, image-text retrieval on the validation pairs, and the learning rate."""

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from cloob.report.load.inputs import Inputs
from cloob.report.load.logs import Log, read_logs
from cloob.report.load.result_files import RUN_KEYS
from cloob.report.names import OBJECTIVE_TITLES, Labels
from cloob.report.registry import Entry
from cloob.report.render.panels import objectives_of, panels
from cloob.report.render.style import (
    DASHES,
    FAINT,
    INK,
    PALETTE,
    add_title,
    legend_handles,
    new_figure,
)

FIGURE = Entry(
    category="Training",
    help="losses, validation recalls and learning rate",
    caption="Loss of every run, on a scale per objective, and image-text retrieval on the validation pairs "
    "(mean over seeds) over the epochs; the insets show the learning rates.",
    inputs=("logs",),
)
_STEP = ("step", "epoch", "loss", "learning_rate")
RECALLS = ("image_to_text_r1", "text_to_image_r1")
# Maximum number of bins that steps are averaged in: more points are indistinguishable at print width.
MAX_POINTS = 150


def read(inputs: Inputs) -> pd.DataFrame:
    """Logs of runs -> the columns of `RUN_KEYS`, epoch, quantity, value.

    Losses and learning rates are averaged over bins of steps; recalls are fractions.
    """
    logs = read_logs(inputs.results, step=_STEP, validation=("epoch", *RECALLS))
    return pd.concat([_points(log) for log in logs], ignore_index=True)


def _points(log: Log) -> pd.DataFrame:
    steps = log.steps(_STEP)
    recalls = [
        (event["epoch"], quantity, event[quantity]) for event in log.validations for quantity in RECALLS
    ]
    bins = (steps.step - 1) * min(MAX_POINTS, len(steps)) // steps.step.max()
    binned = steps.groupby(bins)[["epoch", "loss", "learning_rate"]].mean()
    points = [
        (row.epoch, quantity, getattr(row, quantity))
        for quantity in ("loss", "learning_rate")
        for row in binned.itertuples()
    ]
    table = pd.DataFrame(points + recalls, columns=["epoch", "quantity", "value"])
    return table.assign(**log.identity)[[*RUN_KEYS, "epoch", "quantity", "value"]]


def draw(data: pd.DataFrame, labels: Labels) -> Figure:
    """A column per corpus and architecture; a row per objective with all losses, and a row with recalls.

    The learning rate, which the runs of an objective share, is an inset of the objective's panel.
    """
    columns, objectives = panels(data, labels), objectives_of(data)
    figure = new_figure(height=1.1 + 1.25 * (len(objectives) + 1))
    axes = figure.subplots(len(objectives) + 1, len(columns), squeeze=False, sharex="col", sharey="row")
    for (name, part), column_axes in zip(columns, axes.T, strict=True):
        for axis, objective in zip(column_axes, objectives, strict=False):
            _draw(axis, part[(part.objective == objective) & (part.quantity == "loss")])
            axis.set_ylabel(f"{OBJECTIVE_TITLES[objective]}\nloss")
        recalls = part[part.quantity.isin(RECALLS)]
        mean = recalls.groupby(["objective", "quantity", "epoch"], sort=False).value.mean().reset_index()
        _draw(column_axes[-1], mean.assign(value=100 * mean.value, seed=0))
        column_axes[-1].set(xlabel="epoch", ylabel="validation R@1 (%)")
        column_axes[0].set_title(name if len(columns) < 3 else name.replace(" · ", "\n"))
    for (_, part), column_axes in zip(columns, axes.T, strict=True):  # when all limits are known
        rates = part[part.quantity == "learning_rate"]
        for axis, objective in zip(column_axes, objectives, strict=False):
            _draw_learning_rate(axis, rates[rates.objective == objective])
    for axis in axes[:, 1:].flat:
        axis.set_ylabel("")
    figure.align_ylabels(axes[:, 0])
    legend = legend_handles(objectives)
    legend.append(Line2D([], [], color=INK, lw=1, label="image to text"))
    legend.append(Line2D([], [], color=INK, lw=1, ls=DASHES, label="text to image"))
    add_title(figure, "Training curves", labels, legend)
    return figure


def _draw(axis: Axes, points: pd.DataFrame) -> None:
    """A thin line per seed and quantity, in the color of the objective; text to image is dashed."""
    for (objective, quantity, _), line in points.groupby(["objective", "quantity", "seed"], sort=False):
        style = DASHES if quantity == RECALLS[1] else "-"
        axis.plot(line.epoch, line.value, color=PALETTE[objective], lw=1, ls=style, alpha=0.85)
    axis.grid(axis="y", color=FAINT, alpha=0.25, lw=0.5)


def _draw_learning_rate(axis: Axes, points: pd.DataFrame) -> None:
    """The learning rate of the first seed, as an inset in a corner that the losses leave empty."""
    if points.empty:  # the objective has no runs on this corpus
        return
    _, line = next(iter(points.groupby("seed", sort=False)))
    corner = (0.08, 0.1) if _reach_upper_right(axis) else (0.58, 0.56)
    inset = axis.inset_axes((*corner, 0.4, 0.36))
    inset.plot(line.epoch, line.value, color=INK, lw=0.8)
    inset.set_title("learning rate", fontsize=6, pad=2, loc="center")
    inset.set(xticks=[], ylim=(0, None))
    inset.set_yticks([0, line.value.max()], ["0", f"{line.value.max():.0e}".replace("e-0", "e-")], fontsize=6)
    inset.tick_params(length=2)


def _reach_upper_right(axis: Axes) -> bool:
    """Whether a curve of the panel is in its upper right corner, as a loss that falls late."""
    (left, right), (bottom, top) = axis.get_xlim(), axis.get_ylim()
    points = np.concatenate([line.get_xydata() for line in axis.lines])
    corner = left + 0.52 * (right - left), bottom + 0.5 * (top - bottom)
    return bool((points > corner).all(axis=1).any())
