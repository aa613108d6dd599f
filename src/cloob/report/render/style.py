"""The common style of all figures: print widths, a color per objective, reproducible bytes."""

import textwrap
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import matplotlib as mpl
import pandas as pd
import seaborn as sns
from matplotlib.artist import Artist
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.font_manager import findfont, get_font
from matplotlib.lines import Line2D
from matplotlib.transforms import Bbox

from cloob.common.atomic_files import atomic_write
from cloob.objectives.registry import OBJECTIVES
from cloob.report.load.long_table import write_csv
from cloob.report.names import Labels
from cloob.report.render.text import REPLACEMENT, printable
from cloob.report.sources import write_sources

ONE_COLUMN, TWO_COLUMNS = 3.35, 6.9  # inches, of a two-column page
INK, FAINT = "0.15", "0.55"
DASHES = (0, (2, 1))
PALETTE = {name: to_rgb(objective.color) for name, objective in OBJECTIVES.items()}
MARKERS = {name: objective.marker for name, objective in OBJECTIVES.items()}
_CHARACTERS_PER_INCH = 12  # of a title
_LINE_HEIGHT = 0.18  # inches, of a title
_MAX_SUFFIX = 300  # characters
_FONT = "DejaVu Sans"  # bundled with matplotlib, so it is the same everywhere
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
    "pdf.fonttype": 42,  # TrueType: text remains text, fonts are embedded
    "svg.fonttype": "path",  # outlines: the same on every screen without fonts
    "svg.hashsalt": "cloob",  # element ids in SVG are hashes of this instead of random
    "font.family": _FONT,
    "text.parse_math": False,  # names may contain dollar signs
}


@contextmanager
def figure_style() -> Iterator[None]:
    """The style in which figures are drawn and saved."""
    with mpl.rc_context(sns.plotting_context("paper") | sns.axes_style("ticks") | _SETTINGS):
        yield


def figure_text(text: str, max_length: int) -> str:
    """Text from data for a figure: one line of at most `max_length` characters.

    Characters without a glyph in the font become U+FFFD.
    """
    font = get_font(findfont(_FONT))
    line = printable(text, max_length).strip()
    return "".join(character if font.get_char_index(ord(character)) else REPLACEMENT for character in line)


def new_figure(height: float, width: float = TWO_COLUMNS) -> Figure:
    """An empty figure (inches) with a layout that prevents overlaps."""
    return Figure(figsize=(width, height), layout="constrained")


def legend_handles(objectives: list[str], markers: bool = False) -> list[Line2D]:
    """Legend entries of objectives: thin lines with markers, or thick lines for bars."""
    return [
        Line2D(
            [],
            [],
            color=PALETTE[objective],
            lw=1.4 if markers else 5,
            marker=MARKERS[objective] if markers else None,
            ms=4,
            solid_capstyle="butt",
            label=OBJECTIVES[objective].title,
        )
        for objective in objectives
    ]


def add_title(
    figure: Figure, title: str, labels: Labels, legend: Sequence[Artist], baselines: Sequence[Artist] = ()
) -> None:
    """Add the title with the configured suffix below it, and the legend at the bottom.

    The entries of `baselines`, which are long, have a column of their own.
    """
    suffix = figure_text(labels.title_suffix, _MAX_SUFFIX)
    lines = textwrap.wrap(suffix, int(_CHARACTERS_PER_INCH * figure.get_figwidth()))
    # A long suffix makes the figure higher instead of the panels lower.
    figure.set_figheight(figure.get_figheight() + _LINE_HEIGHT * len(lines[2:]))
    heading = figure.suptitle("\n".join([title, *lines]), fontweight="bold", color=INK)
    heading.set_linespacing(1.4)
    if legend:
        max_columns = 2 if figure.get_figwidth() < TWO_COLUMNS else 5
        rows = -(-len(legend) // max_columns)
        columns = -(-len(legend) // rows)  # rows of equal length
        if baselines:
            height = max(len(baselines), -(-len(legend) // 2))
            figure.set_figheight(figure.get_figheight() + _LINE_HEIGHT * (height - rows))
            legend = [*_padded(legend, height), *_padded(baselines, height)]
            columns = len(legend) // height
        figure.legend(handles=legend, loc="outside lower center", ncols=columns, handlelength=1.6)


def _padded(entries: Sequence[Artist], height: int) -> list[Artist]:
    """Legend entries that fill columns of this height: the last column with empty ones."""
    return [*entries, *(Line2D([], [], ls="", label="") for _ in range(-len(entries) % height))]


def save_figure(figure: Figure, data: pd.DataFrame, png: Path, inputs: Sequence[Path]) -> None:
    """Write a figure drawn in `figure_style` as .png and .svg for screens and .pdf for print.

    The data are written beside it as .csv and the provenance as .sources.json. The same input gives the same
    bytes: files contain no dates, program versions or random ids.
    """
    _fix_layout(figure)
    for path, metadata in (
        (png, {"Software": None}),
        (png.with_suffix(".svg"), {"Date": None, "Creator": None}),
        (png.with_suffix(".pdf"), {"CreationDate": None, "Creator": None, "Producer": None}),
    ):
        with atomic_write(path) as temporary:
            figure.savefig(temporary, metadata=metadata)
    write_csv(data, png.with_suffix(".csv"))
    write_sources([png], inputs, packages=["matplotlib", "pandas", "seaborn"])


def _fix_layout(figure: Figure) -> None:
    """Compute the layout once for all formats, with positions rounded to 1e-6 of the figure.

    The last digits of the layout solver vary between processes, and SVG ids are hashes of positions.
    """
    FigureCanvasAgg(figure).draw()
    figure.set_layout_engine("none")
    for axis in figure.axes:
        bounds = (round(value, 6) for value in axis.get_position(original=True).bounds)
        axis.set_position(Bbox.from_bounds(*bounds))
