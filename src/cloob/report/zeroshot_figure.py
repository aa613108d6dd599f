"""The zero-shot overview: a bar per test set and objective, a dot per seed, and where chance lies."""

from pathlib import Path

import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from cloob.errors import InputError
from cloob.report.names import CORPORA, DATASETS, OBJECTIVES, in_order, label
from cloob.report.result_tables import ACCURACY
from cloob.report.results import read_table, write_table
from cloob.report.sources import write_sources
from cloob.report.style import DASHES, FAINT, INK, PALETTE, handles, new_figure, save, styled, title

PANEL = ["corpus", "architecture", "recipe", "epoch"]


def report_zeroshot_figure(table_path: Path, png: Path, pdf: Path, mark: str) -> None:
    """Draw the accuracies of a zero-shot table; its data goes beside the PNG as CSV. Raises `InputError`."""
    table = read_table(table_path)
    table = table[table.metric == ACCURACY]
    if table.empty:
        raise InputError(
            f"{table_path}: no row with metric {ACCURACY}; make it by `cloob report table zeroshot`"
        )
    with styled():
        save(zeroshot_figure(table, mark), png, pdf)
    write_table(table, png.with_suffix(".csv"))
    write_sources([png, pdf], [table_path], packages=["pandas", "matplotlib", "seaborn"])


def zeroshot_figure(table: pd.DataFrame, mark: str) -> Figure:
    """A panel per corpus, architecture, recipe and epoch; `table` holds accuracies only."""
    panels = list(table.groupby(PANEL, sort=False))
    objectives = in_order(table.objective, OBJECTIVES)
    several_recipes = (table.groupby(["corpus", "architecture"]).recipe.nunique() > 1).any()
    figure = new_figure(height=0.9 + 1.55 * len(panels))
    axes = figure.subplots(len(panels), 1, squeeze=False)[:, 0]
    for axis, ((corpus, architecture, recipe, epoch), panel) in zip(axes, panels, strict=True):
        _draw_panel(axis, panel)
        parts = [label(corpus, CORPORA), architecture, f"epoch {epoch}"]
        axis.set_title(" · ".join([*parts, recipe] if several_recipes else parts))
    legend = handles(objectives)
    legend.append(Line2D([], [], ls="", marker="o", ms=3, mfc="white", mec=INK, mew=0.7, label="one seed"))
    legend.append(Line2D([], [], color=INK, lw=1, ls=DASHES, label="chance"))
    title(figure, "Zero-shot accuracy", mark, legend)
    return figure


def _draw_panel(axis: Axes, panel: pd.DataFrame) -> None:
    objectives = in_order(panel.objective, OBJECTIVES)
    datasets = in_order(panel.dataset, DATASETS)
    data = panel.assign(percent=100 * panel.value)
    shared = {"data": data, "x": "dataset", "y": "percent", "order": datasets, "hue": "objective", "ax": axis}
    shared |= {"hue_order": objectives, "legend": False}
    sns.barplot(**shared, palette=PALETTE, errorbar=None, saturation=1, width=0.75, gap=0.06)
    sns.stripplot(
        **shared,
        palette=dict.fromkeys(objectives, "white"),
        dodge=len(objectives) > 1,
        jitter=False,
        size=3,
        linewidth=0.7,
        edgecolor=INK,
    )
    chance = 100 * panel.groupby("dataset").chance.first()
    for place, name in enumerate(datasets):
        axis.hlines(chance[name], place - 0.45, place + 0.45, color=INK, lw=1, ls=DASHES, zorder=4)
    axis.set_xticks(range(len(datasets)), [label(name, DATASETS) for name in datasets])
    axis.tick_params(axis="x", length=0)
    axis.set(xlabel="", ylabel="accuracy (%)", ylim=(0, None))
    axis.grid(axis="y", color=FAINT, alpha=0.25, lw=0.5)
    axis.set_axisbelow(True)
