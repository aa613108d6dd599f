"""Sample predictions: test images with what the zero-shot classifier takes them for."""

import base64
from collections.abc import Sequence
from pathlib import Path

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from cloob.common.errors import InputError
from cloob.images.decoding import ImageError, decode_rgb
from cloob.report.figures.inputs import RUN
from cloob.report.load.result_file import read_result
from cloob.report.names import CORPORA, DATASETS, OBJECTIVES, in_order, label
from cloob.report.render.style import FAINT, INK, new_figure, shown, title

SAMPLES = 2  # of each test set
TOP = 3  # guesses shown of each
_COLUMNS = 4
_RIGHT, _WRONG = "#2b6a4d", "0.72"


def read(inputs: Sequence[Path]) -> pd.DataFrame:
    """A row per guess: RUN, epoch, dataset, sample, class, rank (from 1), guess, probability, image_jpeg."""
    rows = []
    for path in inputs:
        content = read_result(path, needs=["samples"])
        identity = [*(content["run"][key] for key in RUN), content["epoch"], content["dataset"]]
        rows += [
            [*identity, place, sample["class"], rank, one["class"], one["probability"], sample["image_jpeg"]]
            for place, sample in enumerate(_apart(content["samples"]))
            for rank, one in enumerate(sample["top"][:TOP], start=1)
        ]
    runs = {tuple(row[: len(RUN) + 1]) for row in rows}
    if len(runs) > 1:
        raise InputError(f"--inputs: sample predictions of {len(runs)} runs or epochs; give those of one")
    if not rows:
        raise InputError("--inputs: no sample predictions; evaluate a run first")
    columns = [*RUN, "epoch", "dataset", "sample", "class", "rank", "guess", "probability", "image_jpeg"]
    return pd.DataFrame(rows, columns=columns)


def _apart(samples: list[dict]) -> list[dict]:
    """So many samples as are shown, far apart in the order of the classes."""
    return samples[:: -(-len(samples) // SAMPLES) or 1][:SAMPLES]


def draw(data: pd.DataFrame, mark: str) -> Figure:
    """One sheet of one run: each image with its most probable classes, the right one in green."""
    first = data.iloc[0]
    order = in_order(data.dataset, DATASETS)
    samples = sorted(
        data.groupby(["dataset", "sample"]), key=lambda item: (order.index(item[0][0]), item[0][1])
    )
    lines = -(-len(samples) // _COLUMNS)
    figure = new_figure(height=0.8 + 1.75 * lines)
    grid = figure.subplots(2 * lines, _COLUMNS, squeeze=False, height_ratios=[2.1, 1] * lines)
    for axis in grid.flat:
        axis.set_axis_off()
    for place, ((dataset, _), guesses) in enumerate(samples):
        line, column = divmod(place, _COLUMNS)
        _draw_image(grid[2 * line, column], dataset, guesses)
        _draw_guesses(grid[2 * line + 1, column], guesses)
    legend = [
        Line2D([], [], color=_RIGHT, lw=5, solid_capstyle="butt", label="probability of the right class"),
        Line2D([], [], color=_WRONG, lw=5, solid_capstyle="butt", label="of another class"),
    ]
    names = label(first.objective, OBJECTIVES), first.architecture, label(first.corpus, CORPORA)
    run = ", ".join(shown(name, 24) for name in names)
    title(figure, f"Sample predictions · {run}, epoch {first.epoch}", mark, legend)
    return figure


def _draw_image(axis: Axes, dataset: str, guesses: pd.DataFrame) -> None:
    try:
        image = decode_rgb(base64.b64decode(guesses.image_jpeg.iloc[0], validate=True))
        axis.imshow(image, interpolation="antialiased")
    except (ValueError, ImageError):
        raise InputError(
            f"a sample of {dataset} is not an image in base64; evaluate the checkpoint again"
        ) from None
    name, truth = shown(label(dataset, DATASETS), 30), shown(guesses["class"].iloc[0], 30)
    axis.set_title(f"{name}\n{truth}", fontsize=6.6, loc="center", linespacing=1.25)


def _draw_guesses(axis: Axes, guesses: pd.DataFrame) -> None:
    for row in guesses.itertuples():
        right = row.guess == guesses["class"].iloc[0]
        axis.barh(row.rank, row.probability, height=0.86, color=_RIGHT if right else _WRONG, alpha=0.55)
        axis.text(0.02, row.rank, shown(row.guess, 24), va="center", fontsize=6.2, color=INK)
        axis.text(1, row.rank, f"{100 * row.probability:.0f} %", va="center", ha="right", fontsize=6.2)
    axis.plot([0, 0], [0.5, TOP + 0.5], color=FAINT, lw=0.6)
    axis.set(xlim=(0, 1), ylim=(TOP + 0.6, 0.4))
