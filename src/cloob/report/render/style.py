"""One look for all figures: widths of print, a colour per objective, same bytes from same numbers."""

import textwrap
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import matplotlib as mpl
import matplotlib.colors
import pandas as pd
import seaborn as sns
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.font_manager import findfont, get_font
from matplotlib.lines import Line2D

from cloob.common.atomic_files import atomic_write
from cloob.objectives import registry
from cloob.report.load.results import write_table
from cloob.report.names import OBJECTIVES, label
from cloob.report.render.text import REPLACEMENT, printable
from cloob.report.sources import write_sources

ONE_COLUMN, TWO_COLUMNS = 3.35, 6.9  # inches, of a two-column page
_CHARACTERS = 12  # of a title, in an inch
INK, FAINT = "0.15", "0.55"
DASHES = (0, (2, 1))
_FONT = "DejaVu Sans"  # comes with matplotlib, so it is the same everywhere
_MARK = 300  # characters of a mark, at most
_LINE = 0.18  # inches of a line of it
PALETTE = {objective.name: mpl.colors.to_rgb(objective.color) for objective in registry.OBJECTIVES.values()}
MARKERS = {objective.name: objective.marker for objective in registry.OBJECTIVES.values()}
_SETTINGS = {
    "font.size": 7.5,
    "axes.titlesize": 8,
    "axes.labelsize": 7.5,
    "xtick.labelsize": 7,
    "ytick.labelsize": 7,
    "legend.fontsize": 7.5,
    "figure.titlesize": 9,
    "axes.linewidth": 0.6,
    "xtick.major.width": 0.6,
    "ytick.major.width": 0.6,
    "axes.edgecolor": INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.titlelocation": "left",
    "legend.frameon": False,
    "savefig.dpi": 300,
    "pdf.fonttype": 42,  # TrueType: text stays text, fonts are embedded
    "svg.fonttype": "path",  # the same letters on every screen, with no font to fetch
    "svg.hashsalt": "cloob",  # names inside an SVG are hashes of this, not random
    "font.family": _FONT,
    "text.parse_math": False,  # a dollar sign in a name is one
}


@contextmanager
def styled() -> Iterator[None]:
    """Make and save figures under this."""
    with mpl.rc_context(sns.plotting_context("paper") | sns.axes_style("ticks") | _SETTINGS):
        yield


def shown(text: str, most: int) -> str:
    """Text from data as a figure made under `styled()` shows it: one line of at most so many characters.

    A character that the font has no glyph for becomes U+FFFD.
    """
    font = get_font(findfont(_FONT))
    line = printable(text, most).strip()
    return "".join(each if font.get_char_index(ord(each)) else REPLACEMENT for each in line)


def new_figure(height: float, width: float = TWO_COLUMNS) -> Figure:
    """An empty figure of so many inches, whose layout keeps everything apart."""
    return Figure(figsize=(width, height), layout="constrained")


def handles(objectives: list[str], markers: bool = False) -> list[Line2D]:
    """Legend entries: a line in each objective's colour, with its marker where lines have some."""
    return [
        Line2D(
            [],
            [],
            color=PALETTE[each],
            lw=1.4 if markers else 5,
            marker=MARKERS[each] if markers else None,
            ms=4,
            solid_capstyle="butt",
            label=label(each, OBJECTIVES),
        )
        for each in objectives
    ]


def title(figure: Figure, what: str, mark: str, legend: list[Line2D]) -> None:
    """The figure's title with the mark that says where its numbers come from, and its legend below."""
    lines = textwrap.wrap(shown(mark, _MARK), int(_CHARACTERS * figure.get_figwidth()))
    # A long mark takes its room from the page, not from the panels.
    figure.set_figheight(figure.get_figheight() + _LINE * len(lines[2:]))
    heading = figure.suptitle("\n".join([what, *lines]), fontweight="bold", color=INK)
    heading.set_linespacing(1.4)
    if legend:
        most = 2 if figure.get_figwidth() < TWO_COLUMNS else 5
        columns = -(-len(legend) // -(-len(legend) // most))  # rows as equal as can be
        figure.legend(handles=legend, loc="outside lower center", ncols=columns, handlelength=1.6)


def save_figure(figure: Figure, data: pd.DataFrame, png: Path, inputs: Sequence[Path]) -> None:
    """Write a figure made under `styled()` as .png and .svg for screens and .pdf for print.

    Beside them go the data behind it as .csv, and what it was made from as .sources.json. The same input
    gives the same bytes: no date, no program, no random names get into a file.
    """
    _lay_out(figure)
    for path, metadata in (
        (png, {"Software": None}),
        (png.with_suffix(".svg"), {"Date": None, "Creator": None}),
        (png.with_suffix(".pdf"), {"CreationDate": None, "Creator": None, "Producer": None}),
    ):
        with atomic_write(path) as beside:
            figure.savefig(beside, metadata=metadata)
    write_table(data, png.with_suffix(".csv"))
    write_sources([png], inputs, packages=["matplotlib", "pandas", "seaborn"])


def _lay_out(figure: Figure) -> None:
    """Lay a figure out once for all its forms, with places rounded to a millionth of its size.

    The solver's last digits vary from process to process, and an SVG's names are hashes of them.
    """
    FigureCanvasAgg(figure).draw()
    figure.set_layout_engine("none")
    for axis in figure.axes:
        axis.set_position([round(number, 6) for number in axis.get_position(original=True).bounds])
