"""Download outcomes: how many rows of each URL list yielded an image, and why the others did not."""

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from cloob.common.accounting import KEPT
from cloob.common.errors import InputError, raise_if_io_error
from cloob.report.load.inputs import Inputs
from cloob.report.names import Labels, positions
from cloob.report.registry import Entry
from cloob.report.render.panels import split_title
from cloob.report.render.style import FAINT, INK, add_title, figure_text, new_figure

FIGURE = Entry(
    category="Data",
    help="download outcomes of the rows of each URL list",
    caption="Download outcomes of the rows of each URL list: kept images, and the reasons why the other rows "
    "yielded none.",
    inputs=("download_summaries",),
    requires="download",
)
_COLUMNS = ["split", "stage", "outcome", "http_status", "rows"]
_MAX_BARS = 12  # reasons with a bar of their own; rarer reasons are combined
_MAX_REASON = 40  # characters
_COLORS = {KEPT: "#2b6a4d", "list": "0.72", "fetch": "0.45"}


def read(inputs: Inputs) -> pd.DataFrame:
    """Rows by outcome, summed over HTTP statuses: corpus, split, stage, outcome, rows, share (of the list).

    Each input is a `CORPUS/summary.csv`. Raises `InputError`.
    """
    if not inputs.summaries:
        raise InputError("--summaries: no download summaries given; download a corpus first")
    parts = []
    for path in inputs.summaries:
        try:
            table = pd.read_csv(path, dtype={"split": str, "stage": str, "outcome": str})
        except (OSError, ValueError) as error:
            raise_if_io_error(error, path)
            reason = " ".join(str(error).split())
            raise InputError(f"{path}: not a readable table ({reason}); download the corpus again") from None
        if not set(_COLUMNS) <= set(table) or table.empty:
            raise InputError(f"{path}: its columns are not {','.join(_COLUMNS)}; download the corpus again")
        if not pd.api.types.is_integer_dtype(table.rows) or (table.rows < 0).any():
            raise InputError(f"{path}: `rows` must be non-negative integers; download the corpus again")
        table = table.groupby(["split", "stage", "outcome"], as_index=False, sort=False).rows.sum()
        listed = table[table.stage == "list"].groupby("split").rows.sum()
        # Rows that the list stage kept are counted by their outcome in the fetch stage.
        table = table[(table.stage == "fetch") | (table.outcome != KEPT)]
        # An empty list has no shares.
        table["share"] = (table.rows / table.split.map(listed)).fillna(0)
        parts.append(table.assign(corpus=path.parent.name))
    return pd.concat(parts, ignore_index=True)[["corpus", "split", "stage", "outcome", "rows", "share"]]


def draw(data: pd.DataFrame, labels: Labels) -> Figure:
    """A panel per corpus and split, a bar per outcome: kept first, then rejections by frequency."""
    order = positions(data.corpus)
    parts = sorted(data.groupby(["corpus", "split"]), key=lambda part: (order[part[0][0]], part[0][1]))
    bars = [_bars(part) for _, part in parts]
    heights = [len(part) + 0.6 for part in bars]  # in bars
    figure = new_figure(height=1.1 + 0.3 * len(parts) + 0.135 * sum(heights))
    axes = figure.subplots(len(parts), 1, squeeze=False, sharex=True, height_ratios=heights)[:, 0]
    for ((split, rows), panel_bars), axis in zip(zip(parts, bars, strict=True), axes, strict=True):
        _draw_panel(axis, panel_bars)
        axis.set_title(f"{split_title(labels, *split)}: {rows.rows.sum():,} rows in the URL list")
    axes[-1].set_xlabel("percent of the URL list")
    legend = [
        Patch(color=_COLORS[KEPT], label="image kept"),
        Patch(color=_COLORS["list"], label="row rejected"),
        Patch(color=_COLORS["fetch"], label="download failed or image rejected"),
    ]
    add_title(figure, "Download outcomes", labels, legend)
    return figure


def _bars(part: pd.DataFrame) -> pd.DataFrame:
    """Kept first, then rejections by frequency; those beyond `_MAX_BARS` combined."""
    kept = part[part.outcome == KEPT]
    rejected = part[(part.outcome != KEPT) & (part.rows > 0)]
    rejected = rejected.sort_values(["rows", "outcome"], ascending=[False, True], kind="stable")
    rare = rejected.iloc[_MAX_BARS:]
    if len(rare) > 1:
        combined = {"stage": "fetch", "outcome": f"{len(rare)} rarer outcomes"}
        combined |= {"rows": rare.rows.sum(), "share": rare.share.sum()}
        rejected = pd.concat([rejected.iloc[:_MAX_BARS], pd.DataFrame([combined])])
    return pd.concat([kept, rejected], ignore_index=True)


def _draw_panel(axis: Axes, bars: pd.DataFrame) -> None:
    colors = [_COLORS[KEPT if row.outcome == KEPT else row.stage] for row in bars.itertuples()]
    y = range(len(bars))
    axis.barh(y, 100 * bars.share, height=0.78, color=colors)
    for position, row in zip(y, bars.itertuples(), strict=True):
        percent = f"{100 * row.share:.1f}" if row.share >= 0.0005 else "< 0.1"
        axis.annotate(
            f"{row.rows:,} ({percent}%)",
            (100 * row.share, position),
            (3, 0),
            textcoords="offset points",
            va="center",
            fontsize=6.5,
        )
    axis.set_yticks(y, [figure_text(outcome.replace("_", " "), _MAX_REASON) for outcome in bars.outcome])
    axis.tick_params(axis="y", length=0)
    axis.set(ylim=(len(bars) - 0.4, -0.6), xlim=(0, 118), xticks=range(0, 101, 20))
    axis.grid(axis="x", color=FAINT, alpha=0.25, lw=0.5)
    axis.set_axisbelow(True)
    axis.spines["left"].set_color(INK)
