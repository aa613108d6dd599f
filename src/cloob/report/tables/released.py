"""Zero-shot accuracies of the released checkpoints, measured and published."""

import pandas as pd

from cloob.report.load.inputs import Inputs
from cloob.report.registry import Entry
from cloob.report.render.document import Document
from cloob.report.tables.released_checkpoints import released_table

TABLE = Entry(
    category="Zero-shot",
    help="zero-shot accuracy of the released checkpoints, measured and published",
    caption="Zero-shot accuracy of released models, the authors' checkpoints and open_clip's models, as "
    "evaluated by this pipeline and as published.",
    inputs=("released_zeroshot", "paper"),
    requires="released",
)


def build(inputs: Inputs) -> tuple[Document, pd.DataFrame]:
    """A section per checkpoint, a row per test set."""
    return released_table(inputs, "zeroshot", "Released checkpoints, zero-shot accuracy (%)")
