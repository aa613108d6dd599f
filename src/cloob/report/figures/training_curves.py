"""Training curves: each objective's loss on a scale of its own, and retrieval on the validation pairs."""

from collections.abc import Sequence
from pathlib import Path

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from cloob.report.figures.inputs import RUN, logs, objectives_of, panels
from cloob.report.names import OBJECTIVES, label
from cloob.report.render.style import DASHES, FAINT, INK, PALETTE, handles, new_figure, title

_STEP = ["step", "epoch", "loss", "learning_rate"]
RECALLS = ("image_to_text_r1", "text_to_image_r1")
# More points than this cannot be told apart at print width: steps are averaged within as many bins.
POINTS = 150


def read(inputs: Sequence[Path]) -> pd.DataFrame:
    """Logs of runs -> the columns of `RUN`, epoch, quantity, value.

    Losses and learning rates are means over bins of steps, recalls stand as they are (fractions).
    """
    every = logs(inputs, step=_STEP, validation=["epoch", *RECALLS])
    return pd.concat([_points(run, events) for _, run, events in every], ignore_index=True)


def _points(run: dict, events: list[dict]) -> pd.DataFrame:
    steps = pd.DataFrame(
        [[each[key] for key in _STEP] for each in events if each["event"] == "step"], columns=_STEP
    )
    recalls = [
        (each["epoch"], quantity, each[quantity])
        for each in events
        if each["event"] == "validation"
        for quantity in RECALLS
    ]
    bins = (steps.step - 1) * min(POINTS, len(steps)) // steps.step.max()
    binned = steps.groupby(bins)[["epoch", "loss", "learning_rate"]].mean()
    points = [
        (row.epoch, quantity, getattr(row, quantity))
        for quantity in ("loss", "learning_rate")
        for row in binned.itertuples()
    ]
    points = pd.DataFrame(points + recalls, columns=["epoch", "quantity", "value"])
    return points.assign(**run)[[*RUN, "epoch", "quantity", "value"]]


def draw(data: pd.DataFrame, mark: str) -> Figure:
    """A row per objective's loss, a line per run; one for recalls, a line per mean over seeds.

    A column per corpus and architecture. The learning rate, the same of all runs of a recipe, stands in the
    corner of the first loss.
    """
    columns, objectives = panels(data), objectives_of(data)
    figure = new_figure(height=1.1 + 1.25 * (len(objectives) + 1))
    axes = figure.subplots(len(objectives) + 1, len(columns), squeeze=False, sharex="col", sharey="row")
    for place, (name, part) in enumerate(columns):
        for axis, objective in zip(axes[:, place], objectives, strict=False):
            _draw(axis, part[(part.objective == objective) & (part.quantity == "loss")])
            axis.set_ylabel(f"{label(objective, OBJECTIVES)}\nloss")
        recalls = part[part.quantity.isin(RECALLS)]
        mean = recalls.groupby(["objective", "quantity", "epoch"], sort=False).value.mean().reset_index()
        _draw(axes[-1, place], mean.assign(value=100 * mean.value, seed=0))
        axes[-1, place].set(xlabel="epoch", ylabel="validation R@1 (%)")
        axes[0, place].set_title(name if len(columns) < 3 else name.replace(" · ", "\n"))
        _draw_rate(axes[0, place], part[part.quantity == "learning_rate"])
    for axis in axes[:, 1:].flat:
        axis.set_ylabel("")
    figure.align_ylabels(axes[:, 0])
    legend = handles(objectives)
    legend.append(Line2D([], [], color=INK, lw=1, label="image to text"))
    legend.append(Line2D([], [], color=INK, lw=1, ls=DASHES, label="text to image"))
    title(figure, "Training", mark, legend)
    return figure


def _draw(axis: Axes, points: pd.DataFrame) -> None:
    """A thin line per seed and quantity: a colour per objective, dashes for text to image."""
    for (objective, quantity, _), line in points.groupby(["objective", "quantity", "seed"], sort=False):
        style = DASHES if quantity == RECALLS[1] else "-"
        axis.plot(line.epoch, line.value, color=PALETTE[objective], lw=1, ls=style, alpha=0.85)
    axis.grid(axis="y", color=FAINT, alpha=0.25, lw=0.5)


def _draw_rate(axis: Axes, points: pd.DataFrame) -> None:
    """The learning rate of one run, as an inset where a falling loss leaves room."""
    _, line = next(iter(points.groupby(["objective", "seed"], sort=False)))
    inset = axis.inset_axes((0.58, 0.56, 0.4, 0.36))
    inset.plot(line.epoch, line.value, color=INK, lw=0.8)
    inset.set_title("learning rate", fontsize=6, pad=2, loc="center")
    inset.set(xticks=[], ylim=(0, None))
    inset.set_yticks([0, line.value.max()], ["0", f"{line.value.max():.0e}".replace("e-0", "e-")], fontsize=6)
    inset.tick_params(length=2)
