"""Zero-shot accuracy: bars per test set and objective with seeds, confidence intervals and chance level."""

from typing import Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from cloob.report.load.inputs import Inputs
from cloob.report.load.released import add_baselines, split_baselines
from cloob.report.load.result_files import RUN_KEYS, distinct_results, image_interval, nested
from cloob.report.names import DATASETS, Labels, display_name, ordered
from cloob.report.registry import Entry
from cloob.report.render.bars import bar_legend, draw_bars
from cloob.report.render.baselines import (
    Styles,
    baseline_legend,
    baseline_styles,
    draw_beside_bars,
    reserved_width,
)
from cloob.report.render.panels import objectives_of, panels, tick_labels
from cloob.report.render.style import DASHES, INK, add_title, figure_text, legend_handles, new_figure
from cloob.report.stats.intervals import PERCENT
from cloob.report.stats.single_runs import add_intervals

FIGURE = Entry(
    category="Zero-shot",
    help="zero-shot accuracy per test set, with confidence intervals",
    caption="Zero-shot accuracy on each test set. Bars are means over seeds, dots single seeds, dashed "
    "lines chance. Whiskers are 95% confidence intervals from three seeds on (Student's t on the logit "
    "scale); two seeds have their range. A single seed has an interval, of seed and test images together, "
    "only if other runs have three or more seeds on the same test set.",
    inputs=("zeroshot", "baseline_zeroshot"),
)
_MAX_NAME = 32  # characters of a test set's name
_METRIC = "accuracy"  # the metric that the paper reports for every test set


def read(inputs: Inputs) -> pd.DataFrame:
    """Accuracies: the columns of `RUN_KEYS`, epoch, dataset, value, image_low, image_high, chance, low, high.

    The image interval is of the test images only (bootstrap), low to high of a single run (`single_runs`).
    Baselines have architecture, dataset and value.
    """
    rows = []
    for identity, content in distinct_results(inputs.results, "zeroshot"):
        low, high = image_interval(content, _METRIC, content["path"])
        value, chance = nested(content, "metrics", _METRIC), nested(content, "chance")
        rows.append([*identity.values(), content["dataset"], value, low, high, chance])
    columns = [*RUN_KEYS, "epoch", "dataset", "value", "image_low", "image_high", "chance"]
    data = pd.DataFrame(rows, columns=columns).astype({"image_low": float, "image_high": float})
    run = [key for key in RUN_KEYS if key != "seed"]
    data = add_intervals(data, run, ["dataset"], ["epoch"])
    return add_baselines(data, inputs, "zeroshot", _baseline)


def _baseline(result: dict[str, Any]) -> list[dict[str, Any]]:
    return [{"dataset": result["dataset"], "value": nested(result, "metrics", _METRIC)}]


def draw(data: pd.DataFrame, labels: Labels) -> Figure:
    """A panel per corpus, architecture, recipe and epoch; in percent."""
    runs, baselines = split_baselines(data)
    baselines = baselines[baselines.architecture.isin(runs.architecture)]
    styles = baseline_styles(baselines)
    parts = [
        (f"{name} · epoch {epoch}", part)
        for name, run in panels(runs, labels)
        for epoch, part in run.groupby("epoch")
    ]
    figure = new_figure(height=0.95 + 1.55 * len(parts))
    axes = figure.subplots(len(parts), 1, squeeze=False)[:, 0]
    for axis, (name, part) in zip(axes, parts, strict=True):
        _draw_panel(axis, part, baselines[baselines.architecture == part.architecture.iloc[0]], styles)
        axis.set_title(name)
    chance = Line2D([], [], color=INK, lw=1, ls=DASHES, label="chance")
    legend = [*legend_handles(objectives_of(runs)), *bar_legend(runs), chance]
    add_title(figure, "Zero-shot accuracy", labels, legend, baseline_legend(styles))
    return figure


def _draw_panel(axis: Axes, part: pd.DataFrame, baselines: pd.DataFrame, styles: Styles) -> None:
    datasets = ordered(part.dataset, DATASETS)
    percent = part.assign(**{column: 100 * part[column] for column in ("value", "low", "high")})
    bars = draw_bars(axis, percent, datasets, "dataset", PERCENT, reserved_width(baselines))
    of_baselines = baselines.assign(value=100 * baselines.value)
    draw_beside_bars(axis, of_baselines, "dataset", bars, styles)
    chance = 100 * part.groupby("dataset").chance.first()
    for position, name in enumerate(datasets):
        axis.hlines(chance[name], position - 0.45, position + 0.45, color=INK, lw=1, ls=DASHES, zorder=4)
    names = [figure_text(display_name(name, DATASETS), _MAX_NAME) for name in datasets]
    axis.set_xticks(range(len(datasets)), tick_labels(names))
    axis.set(ylabel="accuracy (%)", ylim=(0, axis.get_ylim()[1]))
