"""Structure of the embeddings of held-out pairs: eigenvalues, uniformity, alignment, modality gap."""

from cloob.report.load.inputs import Inputs
from cloob.report.load.result_set import load_results
from cloob.report.registry import Entry
from cloob.report.tables.grid_tables import AJNE, EIGENVALUES, Metrics, Table, metric_table

TABLE = Entry(
    category="Embeddings",
    help="effective eigenvalues and uniformity of the embeddings",
    caption="Effective eigenvalues of the covariance of the embeddings of held-out pairs, and their "
    "uniformity on the sphere, compared with the values of the paper's figures.",
    inputs=("embedding_structure", "logs", "paper"),
)
_METRICS: Metrics = [
    *EIGENVALUES,
    *AJNE,
    ("uniformity_image", "Uniformity (Wang and Isola), image ↓", 1, 3, -1, "uniformity"),
    ("uniformity_text", "Uniformity (Wang and Isola), text ↓", 1, 3, -1, "uniformity"),
    ("alignment", "Alignment ↓", 1, 3, -1, "alignment"),
    ("modality_gap", "Modality gap", 1, 3, 0),
]
_FAMILIES = "the rows of eigenvalues, over those of uniformity (Ajne, Wang and Isola), and alignment alone"
_REMARK = (
    "Effective eigenvalues: the fewest eigenvalues that sum to at least 99% of the trace of the covariance. "
    "The Ajne statistic grows with the number of images; the paper's values are read off a figure whose "
    "number of images is unknown."
)


def build(inputs: Inputs) -> Table:
    """A section per corpus, architecture, epoch and retrieval set, a row per metric."""
    title = "Structure of the embeddings"
    return metric_table(load_results(inputs), "embedding_structure", title, _METRICS, _FAMILIES, [_REMARK])
