"""Sample predictions: test images with the most probable classes of the zero-shot classifier."""

import base64

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from cloob.common.errors import InputError
from cloob.images.decoding import ImageError, decode_rgb
from cloob.report.load.inputs import Inputs
from cloob.report.load.result_files import RUN_KEYS, read_result
from cloob.report.names import DATASETS, OBJECTIVE_TITLES, Labels, display_name, ordered
from cloob.report.registry import Entry
from cloob.report.render.panels import MAX_NAME
from cloob.report.render.style import FAINT, INK, add_title, figure_text, new_figure

FIGURE = Entry(
    category="Zero-shot",
    help="sample predictions of one run",
    caption="Two images of each test set, sampled with a fixed seed, with the three most probable classes "
    "according to one run, of CLOOB if there is one; the correct class is green.",
    inputs=("predictions_of_cloob",),
)
_SAMPLES = 2  # per test set
_TOP = 3  # classes per sample
_COLUMNS = 4
CORRECT, _INCORRECT = "#2b6a4d", "0.72"
_OPACITY = 0.55  # of the bars, which are behind text


def read(inputs: Inputs) -> pd.DataFrame:
    """A row per prediction.

    Columns of `RUN_KEYS`, epoch, dataset, sample, class, rank (from 1), guess, probability, image_jpeg.
    """
    rows = []
    for path in inputs.results:
        content = read_result(path, keys=["samples"])
        identity = [*(content["run"][key] for key in RUN_KEYS), content["epoch"], content["dataset"]]
        rows += [
            [*identity, index, sample["class"], rank, top["class"], top["probability"], sample["image_jpeg"]]
            for index, sample in enumerate(_spread_out(content["samples"]))
            for rank, top in enumerate(sample["top"][:_TOP], start=1)
        ]
    runs = {tuple(row[: len(RUN_KEYS) + 1]) for row in rows}
    if len(runs) > 1:
        raise InputError(
            f"--results: sample predictions of {len(runs)} runs or epochs; give only one of them"
        )
    if not rows:
        raise InputError("--results: no sample predictions given; evaluate a run first")
    columns = [*RUN_KEYS, "epoch", "dataset", "sample", "class", "rank", "guess", "probability", "image_jpeg"]
    return pd.DataFrame(rows, columns=columns)


def _spread_out(samples: list[dict]) -> list[dict]:
    """The samples to show, evenly spaced in the order of the classes."""
    return samples[:: -(-len(samples) // _SAMPLES) or 1][:_SAMPLES]


def draw(data: pd.DataFrame, labels: Labels) -> Figure:
    """Images of one run with bars of their most probable classes, the correct one in green."""
    first = data.iloc[0]
    order = ordered(data.dataset, DATASETS)
    samples = sorted(
        data.groupby(["dataset", "sample"]), key=lambda item: (order.index(item[0][0]), item[0][1])
    )
    rows = -(-len(samples) // _COLUMNS)
    figure = new_figure(height=0.8 + 1.75 * rows)
    axes = figure.subplots(2 * rows, _COLUMNS, squeeze=False, height_ratios=[2.1, 1] * rows)
    for axis in axes.flat:
        axis.set_axis_off()
    for index, ((dataset, _), predictions) in enumerate(samples):
        row, column = divmod(index, _COLUMNS)
        _draw_image(axes[2 * row, column], dataset, predictions)
        _draw_predictions(axes[2 * row + 1, column], predictions)
    legend = [
        Line2D([], [], color=color, alpha=_OPACITY, lw=5, solid_capstyle="butt", label=label)
        for color, label in (
            (CORRECT, "probability of the correct class"),
            (_INCORRECT, "of another class"),
        )
    ]
    names = OBJECTIVE_TITLES[first.objective], first.architecture, labels.corpus(first.corpus)
    run = ", ".join(figure_text(name, MAX_NAME) for name in names)
    add_title(figure, f"Sample predictions · {run}, epoch {first.epoch}", labels, legend)
    return figure


def _draw_image(axis: Axes, dataset: str, predictions: pd.DataFrame) -> None:
    try:
        image = decode_rgb(base64.b64decode(predictions.image_jpeg.iloc[0], validate=True))
        axis.imshow(image, interpolation="antialiased")
    except (ValueError, ImageError):
        raise InputError(
            f"a sample of {dataset} is not an image in base64; evaluate the checkpoint again"
        ) from None
    name = figure_text(display_name(dataset, DATASETS), 30)
    correct = figure_text(predictions["class"].iloc[0], 30)
    axis.set_title(f"{name}\n{correct}", fontsize=6.6, loc="center", linespacing=1.25)


def _draw_predictions(axis: Axes, predictions: pd.DataFrame) -> None:
    for row in predictions.itertuples():
        color = CORRECT if row.guess == predictions["class"].iloc[0] else _INCORRECT
        axis.barh(row.rank, row.probability, height=0.86, color=color, alpha=_OPACITY)
        axis.text(0.02, row.rank, figure_text(row.guess, 24), va="center", fontsize=6.2, color=INK)
        axis.text(1, row.rank, f"{100 * row.probability:.0f}%", va="center", ha="right", fontsize=6.2)
    axis.plot([0, 0], [0.5, _TOP + 0.5], color=FAINT, lw=0.6)
    axis.set(xlim=(0, 1), ylim=(_TOP + 0.6, 0.4))
