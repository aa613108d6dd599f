"""How many test images are in the training corpora, as `cloob evaluate overlap` found them."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from cloob.common.errors import InputError
from cloob.report.load.form import ANYTHING, NUMBER, read_file, wrong
from cloob.report.names import CORPORA, DATASETS, in_order, label
from cloob.report.render.table import Document, Section, as_markdown, write_document
from cloob.report.sources import write_sources

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
COLUMNS = list(_COLUMNS)
_FORM = _COLUMNS | {"protocol": (str,), "matches": [ANYTHING], "*": ANYTHING}


def report_overlap(results: Sequence[Path], csv: Path, mark: str) -> str:
    """Write the table of overlaps as .csv, .md and .tex; return it for printing. Raises `InputError`."""
    table = overlap_table(results)
    document = overlap_document(table)
    written = write_document(document, table, mark, csv)
    write_sources(written, results, packages=["pandas"])
    return as_markdown(document, mark)


def overlap_table(results: Sequence[Path]) -> pd.DataFrame:
    """Table of `COLUMNS`, a row per corpus and test set, in the order of the paper."""
    table = pd.DataFrame([_row(path) for path in results], columns=COLUMNS)
    twice = table[table.duplicated(["corpus", "dataset"])]
    if len(twice):
        row = twice.iloc[0]
        raise InputError(f"--results: {row.corpus} and {row.dataset} are given twice; give each pair once")
    places = {"corpus": in_order(table.corpus, CORPORA), "dataset": in_order(table.dataset, DATASETS)}
    return table.sort_values(
        ["corpus", "dataset"], key=lambda column: column.map(places[column.name].index), ignore_index=True
    )


def _row(path: Path) -> list[Any]:
    remedy = "delete it and run `cloob evaluate overlap` again"
    result = read_file(path, "no such result; run `cloob evaluate overlap`", remedy)
    found = wrong(result, _FORM)
    if found is None and result["protocol"] != "overlap":
        found = f"of the protocol {result['protocol']}"
    if found is None and len(result["matches"]) != result["overlapping"]:
        found = f"overlapping is {result['overlapping']}, matches are {len(result['matches'])}"
    if found is not None:
        raise InputError(f"{path}: not a result of `cloob evaluate overlap`: {found}; {remedy}")
    return [result[column] for column in COLUMNS]


def overlap_document(table: pd.DataFrame) -> Document:
    """A section per corpus, a row per test set."""
    head = ["Test set", "Test images", "Not comparable", "In the training corpus", "Share"]
    sections = []
    for corpus, rows in table.groupby("corpus", sort=False):
        cells = [
            [
                label(row.dataset, DATASETS),
                f"{row.images:,}",
                f"{row.images - row.compared:,}",
                f"{row.overlapping:,}",
                f"{100 * row.share:.2f} %",
            ]
            for row in rows.itertuples()
        ]
        images, compared = rows.training_images.iloc[0], rows.training_compared.iloc[0]
        remark = f"Training images: {images:,}, not comparable: {images - compared:,}."
        sections.append(Section(label(corpus, CORPORA), "lrrrr", head, cells, remarks=[remark]))
    distances = " or ".join(str(each) for each in sorted(table.distance.unique()))
    remarks = [
        "In the training corpus: near-duplicates, by perceptual hashes of 256 bits that differ in at most "
        f"{distances}. Re-encoded and resized copies are found; mirrored ones and crops of more than 1 % are "
        "not. Not comparable: images without structure, such as a single color.",
        "The images are listed in evaluate/overlap, below the folder of results.",
    ]
    return Document("Test images in the training corpora", sections, remarks)
