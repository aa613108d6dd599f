"""Relative increase of effective eigenvalues since the first recorded epoch, as in the paper's bar chart."""

import pandas as pd
from matplotlib.figure import Figure

from cloob.report.load.embedding_structure import add_published, read_tower_metric, relative_increase
from cloob.report.load.inputs import Inputs
from cloob.report.names import Labels
from cloob.report.registry import Entry
from cloob.report.render.tower_bars import draw_tower_bars

FIGURE = Entry(
    category="Embeddings",
    help="relative increase of effective eigenvalues as bars, compared with the paper",
    caption="Relative increase of the number of effective eigenvalues (the fewest that explain 99% of the "
    "variance of the embeddings of held-out pairs) since the first evaluated epoch of a run. Bars are means "
    "over seeds, whiskers 95% confidence intervals (Student's t, from three seeds on), dots single seeds, "
    "crosses the paper's values where it reports the same run (their reference epoch is unknown).",
    inputs=("embedding_structure_first_and_eval", "paper"),
)


def read(inputs: Inputs) -> pd.DataFrame:
    """Relative increase since each run's first epoch, which is left out.

    Columns of `RUN_KEYS`, epoch, tower, value (a fraction), reference (the first epoch), source.
    """
    increases = relative_increase(read_tower_metric(inputs, "effective_eigenvalues"))
    later = increases[increases.epoch > increases.reference]
    # With a single epoch there is no increase yet: show the zero.
    data = later if len(later) else increases
    return add_published(data, inputs, "fig_effective_eigenvalues")


def draw(data: pd.DataFrame, labels: Labels) -> Figure:
    """A row per corpus and architecture, a column per tower, a group of bars per epoch; in percent."""
    return draw_tower_bars(
        data.assign(value=100 * data.value),
        "Effective eigenvalues of the embeddings",
        lambda part: f"increase since epoch {int(part.reference.min())} (%)",
        labels,
    )
