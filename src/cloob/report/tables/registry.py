"""Result files and logs become the tables of the paper: one way for all of them, each with its rows."""

from collections.abc import Callable, Sequence
from pathlib import Path

import pandas as pd

from cloob.common.errors import InputError
from cloob.report.load.inputs import Inputs, read_inputs
from cloob.report.render.table import Document, write_document
from cloob.report.sources import write_sources
from cloob.report.tables.claims import claims
from cloob.report.tables.results import ablation, embedding_structure, linear_probe, retrieval, zeroshot
from cloob.report.tables.runs import provenance, throughput

TABLES: dict[str, Callable[[Inputs], tuple[Document, pd.DataFrame]]] = {
    "zeroshot": zeroshot,
    "linear_probe": linear_probe,
    "retrieval": retrieval,
    "embedding_structure": embedding_structure,
    "ablation": ablation,
    "claims": claims,
    "throughput": throughput,
    "provenance": provenance,
}


def report_table(
    name: str, paths: Sequence[Path], partial: bool, paper: Path | None, csv: Path, mark: str
) -> None:
    """Write the table `name` as .csv, .md and .tex. Raises `InputError`.

    `paths` are the result files and logs that it is of; with `partial`, one that is not there leaves a gap
    with a footnote. Numbers of a small world (they carry a `mark`) stand beside nothing published.
    """
    inputs = read_inputs(paths, partial, None if mark else paper)
    document, long = TABLES[name](inputs)
    if not document.sections:
        raise InputError(f"--results: none of the files is of what the table {name} shows")
    sources = [*inputs.there.path, *([paper] if paper and inputs.paper else [])]
    write_sources(write_document(document, long, mark, csv), sources, packages=["pandas", "scipy"])
