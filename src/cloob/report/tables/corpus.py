"""Statistics of each corpus: pairs, rejected rows, image sizes, captions and duplicates."""

import pandas as pd

from cloob.report.load.corpora import corpus_statistics
from cloob.report.load.inputs import Inputs
from cloob.report.registry import Entry
from cloob.report.render.document import Document, Section
from cloob.report.render.numbers import MISSING

TABLE = Entry(
    category="Data",
    help="statistics of each corpus: pairs, rejected rows, image sizes, caption lengths and duplicates",
    caption="Statistics of each corpus: pairs and rejected rows (compared with the paper), image sizes, "
    "aspect ratios, caption lengths and duplicates.",
    inputs=("manifests", "outcomes"),
)


def build(inputs: Inputs) -> tuple[Document, pd.DataFrame]:
    """A column per split, a row per quantity; a dash if a split does not have it."""
    table = corpus_statistics(inputs)
    splits = list(dict.fromkeys(zip(table.corpus, table.split, strict=True)))
    values = {(row.corpus, row.split, row.quantity): row.value for row in table.itertuples()}
    header = ["", *(f"{inputs.labels.corpus(corpus)}, {split}" for corpus, split in splits)]
    rows = [
        [quantity, *(_cell(values.get((*split, quantity))) for split in splits)]
        for quantity in dict.fromkeys(table.quantity)
    ]
    sections = [Section("", "l" + "r" * len(splits), header, rows)] if rows else []
    return Document("Corpora", sections), table


def _cell(value: float | None) -> str:
    return MISSING if value is None else f"{value:,.10g}"
