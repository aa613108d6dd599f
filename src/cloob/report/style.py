"""One look for all figures: widths of print, a colour per objective, same bytes from same numbers."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import matplotlib as mpl
import seaborn as sns
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from cloob.files import replacing
from cloob.report.names import OBJECTIVES, label

ONE_COLUMN, TWO_COLUMNS = 3.35, 6.9  # inches, of a two-column page
INK, FAINT = "0.15", "0.55"
DASHES = (0, (2, 1))
_COLOURS = sns.color_palette("colorblind")
# Blues for InfoNCE, oranges for InfoLOOB: as far apart as colour-blind eyes allow.
PALETTE = {
    "infonce": _COLOURS[0],
    "infonce_hopfield": _COLOURS[9],
    "infoloob": _COLOURS[1],
    "infoloob_hopfield": _COLOURS[3],
}
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
    "font.family": "DejaVu Sans",  # comes with matplotlib, so it is the same everywhere
}


@contextmanager
def styled() -> Iterator[None]:
    """Make and save figures under this."""
    with mpl.rc_context(sns.plotting_context("paper") | sns.axes_style("ticks") | _SETTINGS):
        yield


def new_figure(height: float, width: float = TWO_COLUMNS) -> Figure:
    """An empty figure of so many inches, whose layout keeps everything apart."""
    return Figure(figsize=(width, height), layout="constrained")


def handles(objectives: list[str]) -> list[Line2D]:
    """Legend entries: a line in each objective's colour."""
    return [Line2D([], [], color=PALETTE[each], lw=2.5, label=label(each, OBJECTIVES)) for each in objectives]


def title(figure: Figure, what: str, mark: str, legend: list[Line2D]) -> None:
    """The figure's title with the mark that says where its numbers come from, and its legend below."""
    heading = figure.suptitle(what + (f"\n{mark}" if mark else ""), fontweight="bold", color=INK)
    heading.set_linespacing(1.4)
    figure.legend(handles=legend, loc="outside lower center", ncols=len(legend), handlelength=1.6)


def save(figure: Figure, png: Path, pdf: Path) -> None:
    """Write both forms, without the date and the program that matplotlib would put into them."""
    with replacing(png) as beside:
        figure.savefig(beside, metadata={"Software": None})
    with replacing(pdf) as beside:
        figure.savefig(beside, metadata={"CreationDate": None, "Creator": None, "Producer": None})
