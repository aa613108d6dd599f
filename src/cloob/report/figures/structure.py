"""What the figures of embedding structure share: a number per run, epoch and tower, beside the paper's."""

from collections.abc import Callable, Sequence
from pathlib import Path

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from cloob.common.errors import InputError
from cloob.objectives.registry import OBJECTIVES
from cloob.report.figures.bars import bar_legend, draw_bars
from cloob.report.figures.inputs import RUN, number, objectives_of, panels, results
from cloob.report.load.paper import read_paper
from cloob.report.render.style import INK, handles, new_figure, title

TOWERS = ("image", "text")
PROTOCOL = "embedding_structure"
# By the paper's names of them; its figures are of Conceptual Captions and RN50.
_PAPER_OBJECTIVES = {method: name for name, entry in OBJECTIVES.items() for method in entry.paper_names}


def read_metric(inputs: Sequence[Path], metric: str) -> pd.DataFrame:
    """One metric of both towers: the columns of `RUN`, epoch, tower, value."""
    rows = [
        [*identity.values(), tower, number(content, "metrics", f"{metric}_{tower}")]
        for identity, content in results([path for path in inputs if path.suffix == ".json"], PROTOCOL)
        for tower in TOWERS
    ]
    # A number that an evaluation could not give (null) is drawn nowhere.
    return pd.DataFrame(rows, columns=[*RUN, "epoch", "tower", "value"]).astype({"value": float})


def with_published(measured: pd.DataFrame, inputs: Sequence[Path], figure: str) -> pd.DataFrame:
    """Add the paper's values of a figure where the same corpus, architecture and epoch was measured.

    The table gets a column `source`; published rows have seed 0. The small world's encoders are not the
    paper's, so nothing of it stands beside them.
    """
    measured = measured.assign(source="measured")
    rows = [row for path in inputs if path.suffix == ".csv" for row in _published_rows(path, figure)]
    if not rows:
        return measured
    # A published value per recipe of the same corpus, architecture, objective, epoch and tower.
    same = ["corpus", "architecture", "objective", "epoch", "tower"]
    known = measured.drop(columns=["seed", "value", "source"]).drop_duplicates()
    published = known.merge(pd.DataFrame(rows), on=same).assign(seed=0, source="released")
    return pd.concat([measured, published], ignore_index=True) if len(published) else measured


def _published_rows(path: Path, figure: str) -> list[dict[str, object]]:
    paper = read_paper(path)
    try:
        return [
            {
                "corpus": "cc3m",
                "architecture": row["architecture"],
                "objective": _PAPER_OBJECTIVES[row["method"]],
                "epoch": int(row["epoch"]),
                "tower": row["dataset"].removesuffix("_embeddings"),
                "value": float(row["mean"]),
            }
            for _, row in paper[paper.table == figure].iterrows()
        ]
    except (ValueError, AttributeError, KeyError) as error:
        raise InputError(f"{path}: not the table of the paper's results ({error!r})") from None


def bars_of_towers(
    data: pd.DataFrame, what: str, quantity: Callable[[pd.DataFrame], str], mark: str
) -> Figure:
    """Bars of one number of both towers over epochs; `quantity` gives the label of a panel's values."""
    rows = panels(data)
    figure = new_figure(height=0.95 + 1.6 * len(rows))
    axes = figure.subplots(len(rows), len(TOWERS), squeeze=False, sharey="row")
    for (name, part), pair in zip(rows, axes, strict=True):
        epochs = sorted(part.epoch.unique())
        for tower, axis in zip(TOWERS, pair, strict=True):
            shown = part[part.tower == tower]
            stands = draw_bars(axis, shown[shown.source == "measured"], epochs, "epoch")
            _mark_published(axis, shown[shown.source == "released"], stands)
            axis.set_xticks(range(len(epochs)), [f"epoch {epoch}" for epoch in epochs])
            axis.set_title(f"{name} · {tower}s")
        pair[0].set_ylabel(quantity(part[part.source == "measured"]))
    title(figure, what, mark, [*handles(objectives_of(data)), *bar_legend(data), *_published_legend(data)])
    return figure


def _mark_published(axis: Axes, published: pd.DataFrame, stands: dict[tuple, float]) -> None:
    """A cross at the paper's value on each bar that has one."""
    for row in published.itertuples():
        if (row.epoch, row.objective) in stands:
            spot = stands[row.epoch, row.objective]
            axis.plot(spot, row.value, "x", ms=4, color=INK, mew=1, zorder=5, gid="released")


def _published_legend(data: pd.DataFrame) -> list[Line2D]:
    """Its legend entry, where there is anything published."""
    cross = Line2D([], [], ls="", marker="x", ms=4, color=INK, mew=1, label="released")
    return [cross] if (data.source == "released").any() else []
