"""Image-text retrieval of the released checkpoints, measured and published."""

from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pandas as pd

from cloob.report.load.inputs import Inputs
from cloob.report.load.paper import Paper, PaperColumn
from cloob.report.load.released import model_title, read_released
from cloob.report.load.result_files import nested
from cloob.report.registry import Entry
from cloob.report.render.document import Document, Section
from cloob.report.render.numbers import number
from cloob.report.tables.grid_tables import recalls
from cloob.report.tables.released_checkpoints import COLUMN, released_rows

TABLE = Entry(
    category="Retrieval",
    help="image-text retrieval of the released checkpoints, measured and published",
    caption="Image-text retrieval of released models, the authors' checkpoints and open_clip's models, as "
    "evaluated by this pipeline and as published: recall among the top 1, 5 and 10.",
    inputs=("released_retrieval", "paper"),
    requires="released",
)
_PROTOCOL = "retrieval"
_HEADER = ["Metric", "Measured", "Published", "Difference"]
_SECTION = [*COLUMN, "dataset"]
_RECALLS = {metric: label for metric, label, *_ in recalls((1, 5, 10))}
_REMARKS = [
    "An image is retrieved by any of its captions. Both numbers are of the same weights and retrieval set, "
    "so the difference is of the evaluation alone, and there is nothing to test.",
    "Published recalls of open_clip's models are those in its docs/openclip_retrieval_results.csv, for "
    "retrieval sets that are called flickr30k and coco in the configuration.",
]


def build(inputs: Inputs) -> tuple[Document, pd.DataFrame]:
    """A section per checkpoint and retrieval set, a row per recall (%)."""
    table = released_rows(inputs, _rows, _SECTION, ["metric"])
    sections = [
        Section(
            f"{part.title.iloc[0]}: {model_title(PaperColumn(*column))}",
            "lrrr",
            _HEADER,
            [
                [
                    _RECALLS[row.metric],
                    number(row.recall_pct),
                    number(row.published_recall_pct),
                    number(row.difference_pct, signed=True),
                ]
                for row in part.itertuples()
            ],
        )
        for (*column, _), part in table.groupby(_SECTION, sort=False)
    ]
    return Document("Released checkpoints, image-text retrieval", sections, _REMARKS), table


def _rows(column: PaperColumn, path: Path, paper: Paper) -> Iterator[dict[str, Any]]:
    result = read_released(column, path, _PROTOCOL, keys=("images", "texts", "title", "metrics"))
    for metric in _RECALLS:
        recall = 100 * nested(result, "metrics", metric)
        published = paper.number(column, _PROTOCOL, result["dataset"], metric)
        yield {
            "checkpoint": result["run"]["name"],
            **asdict(column),
            "protocol": _PROTOCOL,
            "dataset": result["dataset"],
            "title": result["title"],
            "images": result["images"],
            "texts": result["texts"],
            "metric": metric,
            "recall_pct": recall,
            "published_recall_pct": published and published.mean,
            "difference_pct": published and recall - published.mean,
            "source": published.source if published else "",
        }
