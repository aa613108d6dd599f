"""Ajne's statistic of the embeddings, as in the paper's bar chart; low values mean uniform on the sphere."""

import pandas as pd
from matplotlib.figure import Figure

from cloob.report.load.embedding_structure import PROTOCOL, add_published, read_tower_metric, tower_metric
from cloob.report.load.inputs import Inputs
from cloob.report.load.released import add_baselines
from cloob.report.names import Labels
from cloob.report.registry import Entry
from cloob.report.render.tower_bars import draw_tower_bars

FIGURE = Entry(
    category="Embeddings",
    help="uniformity of the embeddings (Ajne statistic), compared with the paper",
    caption="Ajne statistic of the embeddings of held-out pairs; lower values mean a more uniform "
    "distribution on the sphere. Bars are means over seeds, whiskers 95% confidence intervals (Student's t, "
    "from three seeds on), dots single seeds, crosses the paper's values where it reports the same run.",
    inputs=("embedding_structure", "paper", "baseline_structure"),
)


def read(inputs: Inputs) -> pd.DataFrame:
    """The Ajne statistic: the columns of `RUN_KEYS`, epoch, tower, value, source; baselines."""
    data = add_published(read_tower_metric(inputs, "ajne"), inputs, "fig_ajne_uniformity")
    return add_baselines(data, inputs, PROTOCOL, lambda result: tower_metric(result, "ajne"))


def draw(data: pd.DataFrame, labels: Labels) -> Figure:
    """A row per corpus and architecture, a column per tower, a group of bars per epoch."""
    title = "Uniformity of the embeddings (Ajne statistic)"
    return draw_tower_bars(data, title, lambda _: "Ajne statistic (low: uniform)", labels)
