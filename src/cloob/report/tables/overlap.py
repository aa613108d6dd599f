"""Train-test overlap: test images that have a near-duplicate in a training corpus."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from cloob.common.errors import InputError
from cloob.report.load.inputs import Inputs
from cloob.report.load.json_checks import ANYTHING, NUMBER, read_json, type_error
from cloob.report.names import DATASETS, Labels, display_name, positions
from cloob.report.registry import Entry
from cloob.report.render.document import Document, Section

TABLE = Entry(
    category="Data",
    help="test images that have a near-duplicate in a training corpus",
    caption="Test images that have a near-duplicate in a training corpus: accuracies on them may be higher "
    "than on unseen images.",
    inputs=("overlap",),
)
_COLUMNS = {
    "corpus": (str,),
    "dataset": (str,),
    "images": (int,),
    "compared": (int,),
    "overlapping": (int,),
    "share": NUMBER,
    "training_images": (int,),
    "training_compared": (int,),
    "distance": (int,),
}
_SCHEMA = _COLUMNS | {"protocol": (str,), "matches": [ANYTHING], "*": ANYTHING}
_HEADER = ["Test set", "Test images", "Not comparable", "In the training corpus", "Percent"]


def build(inputs: Inputs) -> tuple[Document, pd.DataFrame]:
    """A section per corpus, a row per test set."""
    table = read_overlap(inputs.results)
    return _document(table, inputs.labels), table


def read_overlap(paths: Sequence[Path]) -> pd.DataFrame:
    """Results of `cloob evaluate overlap` -> a row per corpus and test set, in the paper's order."""
    table = pd.DataFrame([_read_row(path) for path in paths], columns=list(_COLUMNS))
    duplicates = table[table.duplicated(["corpus", "dataset"])]
    if len(duplicates):
        row = duplicates.iloc[0]
        raise InputError(f"--results: {row.corpus} and {row.dataset} are given twice; give each pair once")
    order = {"corpus": positions(table.corpus), "dataset": positions(table.dataset, DATASETS)}
    return table.sort_values(
        ["corpus", "dataset"], key=lambda column: column.map(order[column.name]), ignore_index=True
    )


def _read_row(path: Path) -> list[Any]:
    remedy = "delete it and run `cloob evaluate overlap` again"
    result = read_json(path, "no such result; run `cloob evaluate overlap`", remedy)
    problem = type_error(result, _SCHEMA)
    if problem is None and result["protocol"] != "overlap":
        problem = f"protocol is {result['protocol']}"
    if problem is None and len(result["matches"]) != result["overlapping"]:
        problem = f"overlapping is {result['overlapping']}, but there are {len(result['matches'])} matches"
    if problem is not None:
        raise InputError(f"{path}: not a result of `cloob evaluate overlap`: {problem}; {remedy}")
    return [result[column] for column in _COLUMNS]


def _document(table: pd.DataFrame, labels: Labels) -> Document:
    sections = []
    for corpus, rows in table.groupby("corpus", sort=False):
        cells = [
            [
                display_name(row.dataset, DATASETS),
                f"{row.images:,}",
                f"{row.images - row.compared:,}",
                f"{row.overlapping:,}",
                f"{100 * row.share:.2f}%",
            ]
            for row in rows.itertuples()
        ]
        images, compared = rows.training_images.iloc[0], rows.training_compared.iloc[0]
        remark = f"Training images: {images:,}, not comparable: {images - compared:,}."
        sections.append(Section(labels.corpus(corpus), "lrrrr", _HEADER, cells, remarks=[remark]))
    distances = " or ".join(str(distance) for distance in sorted(table.distance.unique()))
    remarks = [
        "In the training corpus: near-duplicates, whose 256-bit perceptual hashes differ in at most "
        f"{distances} bits. This detects re-encoded and resized copies, but not mirrored ones or crops of "
        "more than 1%. Not comparable: images without structure, such as a single color.",
        "The image names are listed in the folder evaluate/overlap of the results.",
    ]
    return Document("Train-test overlap", sections, remarks)
