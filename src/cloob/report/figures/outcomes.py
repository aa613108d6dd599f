"""Outcomes of downloads: what became of the rows of each list."""

from collections.abc import Sequence
from pathlib import Path

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from cloob.common.errors import InputError, raise_if_io_error
from cloob.report.names import CORPORA, label, ranks
from cloob.report.render.style import FAINT, INK, new_figure, shown, title

COLUMNS = ["split", "stage", "outcome", "http_status", "rows"]
KEPT = "kept"
MOST = 12  # refusals with a bar of their own; rarer ones are one bar
_REASON = 40  # characters of a reason, at most
_COLOURS = {"kept": "#2b6a4d", "list": "0.72", "fetch": "0.45"}


def read(inputs: Sequence[Path]) -> pd.DataFrame:
    """Rows by outcome, a outcome's HTTP statuses together: corpus, split, stage, outcome, rows, share (of the list).

    Each input is a corpus's summary.csv in its folder. Raises `InputError`.
    """
    parts = []
    for path in inputs:
        try:
            table = pd.read_csv(path, dtype={"split": str, "stage": str, "outcome": str})
        except (OSError, ValueError) as error:
            raise_if_io_error(error, path)
            reason = " ".join(str(error).split())
            raise InputError(f"{path}: not a readable table ({reason}); download the corpus again") from None
        if not set(COLUMNS) <= set(table) or table.empty:
            raise InputError(f"{path}: its columns are not {','.join(COLUMNS)}; download the corpus again")
        if not pd.api.types.is_integer_dtype(table.rows) or (table.rows < 0).any():
            raise InputError(f"{path}: `rows` holds what is not a number from 0; download the corpus again")
        table = table.groupby(["split", "stage", "outcome"], as_index=False, sort=False).rows.sum()
        listed = table[table.stage == "list"].groupby("split").rows.sum()
        # What the list kept went on to be fetched: only its outcome there is one.
        table = table[(table.stage == "fetch") | (table.outcome != KEPT)]
        # Of an empty list, nothing is no share.
        table["share"] = (table.rows / table.split.map(listed)).fillna(0)
        parts.append(table.assign(corpus=path.parent.name))
    return pd.concat(parts, ignore_index=True)[["corpus", "split", "stage", "outcome", "rows", "share"]]


def draw(data: pd.DataFrame, mark: str) -> Figure:
    """A panel per corpus and split, a bar per outcome, the most frequent refusal first."""
    order = ranks(data.corpus, CORPORA)
    parts = sorted(data.groupby(["corpus", "split"]), key=lambda part: (order[part[0][0]], part[0][1]))
    bars = [_condensed(part) for _, part in parts]
    heights = [len(part) + 0.6 for part in bars]  # in bars
    figure = new_figure(height=1.1 + 0.3 * len(parts) + 0.135 * sum(heights))
    axes = figure.subplots(len(parts), 1, squeeze=False, sharex=True, height_ratios=heights)[:, 0]
    for (((corpus, split), whole), part), axis in zip(zip(parts, bars, strict=True), axes, strict=True):
        _draw_panel(axis, part)
        name = f"{shown(label(corpus, CORPORA), 24)}, {shown(split, 24)}"
        axis.set_title(f"{name}: {whole.rows.sum():,} rows in the list")
    axes[-1].set_xlabel("share of the list (%)")
    legend = [
        Patch(color=_COLOURS["kept"], label="image kept"),
        Patch(color=_COLOURS["list"], label="row refused"),
        Patch(color=_COLOURS["fetch"], label="image refused or not to be had"),
    ]
    title(figure, "What became of the rows of the lists", mark, legend)
    return figure


def _condensed(part: pd.DataFrame) -> pd.DataFrame:
    """Kept first, then refusals by number; those beyond `MOST` together."""
    kept = part[part.outcome == KEPT]
    refused = part[(part.outcome != KEPT) & (part.rows > 0)]
    refused = refused.sort_values(["rows", "outcome"], ascending=[False, True], kind="stable")
    rare = refused.iloc[MOST:]
    if len(rare) > 1:
        together = {"stage": "fetch", "outcome": f"{len(rare)} rarer outcomes"}
        together |= {"rows": rare.rows.sum(), "share": rare.share.sum()}
        refused = pd.concat([refused.iloc[:MOST], pd.DataFrame([together])])
    return pd.concat([kept, refused], ignore_index=True)


def _draw_panel(axis: Axes, part: pd.DataFrame) -> None:
    colours = [_COLOURS[KEPT if row.outcome == KEPT else row.stage] for row in part.itertuples()]
    places = range(len(part))
    axis.barh(places, 100 * part.share, height=0.78, color=colours)
    for place, row in zip(places, part.itertuples(), strict=True):
        share = f"{100 * row.share:.1f}" if row.share >= 0.0005 else "< 0.1"
        text = f"{row.rows:,} ({share} %)"
        axis.annotate(
            text, (100 * row.share, place), (3, 0), textcoords="offset points", va="center", fontsize=6.5
        )
    axis.set_yticks(places, [shown(outcome.replace("_", " "), _REASON) for outcome in part.outcome])
    axis.tick_params(axis="y", length=0)
    axis.set(ylim=(len(part) - 0.4, -0.6), xlim=(0, 118), xticks=range(0, 101, 20))
    axis.grid(axis="x", color=FAINT, alpha=0.25, lw=0.5)
    axis.set_axisbelow(True)
    axis.spines["left"].set_color(INK)
