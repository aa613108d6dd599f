"""Training curves: each objective's loss on a scale of its own, and retrieval on the validation pairs."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from cloob.errors import InputError
from cloob.report.names import CORPORA, OBJECTIVES, check_objective, in_order, label
from cloob.report.results import write_table
from cloob.report.sources import write_sources
from cloob.report.style import DASHES, FAINT, INK, PALETTE, handles, new_figure, save, styled, title

RUN = ["corpus", "architecture", "objective", "recipe", "seed"]
RECALLS = ("image_to_text_r1", "text_to_image_r1")
# More points than this cannot be told apart at print width: losses are averaged within as many bins.
POINTS = 150


def report_training_curves(metrics: Sequence[Path], png: Path, pdf: Path, mark: str) -> None:
    """Draw the logs of runs; the points drawn go beside the figure as CSV. Raises `InputError`."""
    if not metrics:
        raise InputError("--metrics: no logs are given; train a run first")
    points = pd.concat([read_log(path) for path in sorted(metrics)], ignore_index=True)
    with styled():
        save(training_figure(points, mark), png, pdf)
    write_table(points, png.with_suffix(".csv"))
    write_sources([png, pdf], metrics, packages=["pandas", "matplotlib", "seaborn"])


def training_figure(points: pd.DataFrame, mark: str) -> Figure:
    """A row per objective's loss and one for recalls, a column per corpus and architecture."""
    columns = sorted(
        set(zip(points.corpus, points.architecture, strict=True)),
        key=lambda column: (in_order(points.corpus, CORPORA).index(column[0]), column[1]),
    )
    objectives = in_order(points.objective, OBJECTIVES)
    figure = new_figure(height=1.1 + 1.25 * (len(objectives) + 1))
    axes = figure.subplots(len(objectives) + 1, len(columns), squeeze=False, sharex="col", sharey="row")
    for place, (corpus, architecture) in enumerate(columns):
        part = points[(points.corpus == corpus) & (points.architecture == architecture)]
        for axis, objective in zip(axes[:, place], objectives, strict=False):
            _draw(axis, part[(part.objective == objective) & (part.quantity == "loss")])
            axis.set_ylabel(f"{label(objective, OBJECTIVES)}\nloss")
        recalls = part[part.quantity.isin(RECALLS)]
        _draw(axes[-1, place], recalls.assign(value=100 * recalls.value))
        axes[-1, place].set(xlabel="epoch", ylabel="validation R@1 (%)")
        axes[0, place].set_title(f"{label(corpus, CORPORA)} · {architecture}")
    for axis in axes[:, 1:].flat:
        axis.set_ylabel("")
    figure.align_ylabels(axes[:, 0])
    legend = handles(objectives)
    legend.append(Line2D([], [], color=INK, lw=1, label="image to text"))
    legend.append(Line2D([], [], color=INK, lw=1, ls=DASHES, label="text to image"))
    title(figure, "Training", mark, legend)
    return figure


def read_log(path: Path) -> pd.DataFrame:
    """A run's metrics.jsonl -> long table with the columns of `RUN`, epoch, quantity, value.

    Losses are means over bins of steps, recalls stand as they are (fractions). Raises `InputError`.
    """
    events = _events(path)
    try:
        run = next(each["run"] for each in events if each["event"] == "start")
        steps = pd.DataFrame(
            [(each["step"], each["epoch"], each["loss"]) for each in events if each["event"] == "step"],
            columns=["step", "epoch", "loss"],
        )
        recalls = [
            (each["epoch"], quantity, each[quantity])
            for each in events
            if each["event"] == "validation"
            for quantity in RECALLS
        ]
        check_objective(run["objective"], path)
        identity = {key: run[key] for key in RUN}
    except (KeyError, TypeError, StopIteration) as error:
        raise InputError(f"{path}: not a log of `cloob train run` ({error!r}); train the run again") from None
    if steps.empty:
        raise InputError(f"{path}: the log has no training step; train the run again")
    bins = (steps.step - 1) * min(POINTS, len(steps)) // steps.step.max()
    losses = steps.groupby(bins)[["epoch", "loss"]].mean()
    points = [(epoch, "loss", loss) for epoch, loss in losses.itertuples(index=False)] + recalls
    return pd.DataFrame(points, columns=["epoch", "quantity", "value"]).assign(**identity)[
        [*RUN, "epoch", "quantity", "value"]
    ]


def _events(path: Path) -> list[dict[str, Any]]:
    try:
        return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    except OSError:
        raise InputError(f"{path}: no such log; `cloob train run` writes it") from None
    except ValueError as error:
        raise InputError(f"{path}: a line is not JSON ({error}); train the run again") from None


def _draw(axis: Axes, points: pd.DataFrame) -> None:
    """A thin line per run and quantity: a colour per objective, dashes for text to image."""
    for (objective, quantity, _, _), line in points.groupby(
        ["objective", "quantity", "recipe", "seed"], sort=False
    ):
        sns.lineplot(
            data=line,
            x="epoch",
            y="value",
            ax=axis,
            color=PALETTE[objective],
            lw=1,
            ls=DASHES if quantity == RECALLS[1] else "-",
            alpha=0.85,
            errorbar=None,
        )
    axis.grid(axis="y", color=FAINT, alpha=0.25, lw=0.5)
