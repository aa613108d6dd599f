"""Linear-probe accuracies of the released checkpoints, measured and published."""

import pandas as pd

from cloob.report.load.inputs import Inputs
from cloob.report.registry import Entry
from cloob.report.render.document import Document
from cloob.report.tables.released_checkpoints import released_table

TABLE = Entry(
    category="Linear probe",
    help="linear-probe accuracy of the released checkpoints, measured and published",
    caption="Linear-probe accuracy of released models, the authors' checkpoints and open_clip's models, as "
    "evaluated by this pipeline and as published.",
    inputs=("released_linear_probe", "paper"),
    requires="released",
)


def build(inputs: Inputs) -> tuple[Document, pd.DataFrame]:
    """A section per checkpoint and kind of features, a row per test set."""
    remark = "It is also unknown which features and which validation images the paper uses."
    title = "Released checkpoints, linear-probe accuracy (%)"
    return released_table(inputs, "linear_probe", title, [remark])
