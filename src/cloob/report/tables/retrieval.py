"""Image-text retrieval on held-out pairs: recalls and ranks in both directions."""

from cloob.report.load.inputs import Inputs
from cloob.report.load.result_set import load_results
from cloob.report.registry import Entry
from cloob.report.tables.grid_tables import DIRECTIONS, Metrics, Table, metric_table, recalls

TABLE = Entry(
    category="Retrieval",
    help="image-text retrieval on held-out pairs: recalls and ranks",
    caption="Image-text retrieval on held-out pairs: recall among the top 1, 5 and 10, and the rank of the "
    "match, from images to captions and from captions to images.",
    inputs=("retrieval", "logs", "paper"),
)
_RANKS: Metrics = [
    (f"{direction}_{statistic}_rank", f"{title}, {statistic} rank ↓", 1, 1, -1, f"{statistic}_rank")
    for direction, title in DIRECTIONS.items()
    for statistic in ("mean", "median")
]


def build(inputs: Inputs) -> Table:
    """A section per corpus, architecture, epoch and retrieval set, a row per metric."""
    metrics = [*recalls((1, 5, 10)), *_RANKS]
    return metric_table(
        load_results(inputs),
        "retrieval",
        "Image-text retrieval on held-out pairs",
        metrics,
        "the two directions of a metric",
    )
