"""The released checkpoints as this pipeline evaluates them, beside what the paper reports of them."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from cloob.common.errors import InputError
from cloob.report.load.paper import Paper
from cloob.report.load.result_file import read_result
from cloob.report.names import DATASETS, label, ranks
from cloob.report.render.table import Document, Section, number, write_document
from cloob.report.render.text import Prose
from cloob.report.sources import write_sources

COLUMN = ["pretraining", "architecture", "method", "epoch"]
# The protocols that the paper has numbers of, as they are called on paper.
PROTOCOLS = {"zeroshot": "zero-shot accuracy", "linear_probe": "linear-probe accuracy"}
NOT_CONVERGED = "Not every fit of these came to its optimum (the jobs' logs warn of it)"
# What a checkpoint carries of its training: nothing where the file has None.
STORED = {"inv_temperature": "1/τ", "hopfield_beta": "β"}


@dataclass(frozen=True)
class Column:
    """A column of the paper's tables, by the keys of config/paper_results.csv."""

    pretraining: str
    architecture: str
    method: str
    epoch: int


def report_published(results: Sequence[tuple[Column, Path]], paper: Path, csv: Path, mark: str) -> None:
    """Write a row per released checkpoint and test set: measured, published, their difference.

    As .csv, .md and .tex. `results` are the result files of one protocol with the column of the paper that
    each stands against. Raises `InputError` for one of another architecture or epoch than its column's, given
    twice, or of another protocol.
    """
    table = _compare(results, Paper(paper))
    written = write_document(published_document(table), table, mark, csv)
    write_sources(written, [paper, *(path for _, path in results)], packages=["pandas"])


def _compare(results: Sequence[tuple[Column, Path]], paper: Paper) -> pd.DataFrame:
    table = pd.DataFrame([row for column, path in results for row in _rows(column, path, paper)])
    if (twice := table.duplicated([*COLUMN, "features", "dataset"])).any():
        raise InputError(f"--results: {table[twice].dataset.iloc[0]} is given twice for a checkpoint")
    if len(protocols := set(table.protocol)) > 1:
        raise InputError(f"--results: of {' and '.join(sorted(protocols))}; a table is of one protocol")
    order = ranks(table.dataset, DATASETS)
    return table.sort_values("dataset", key=lambda names: names.map(order), kind="stable").sort_values(
        [*COLUMN, "features"], kind="stable", ignore_index=True
    )


def _rows(column: Column, path: Path, paper: Paper) -> Iterator[dict[str, Any]]:
    """A row of a zero-shot result; of a linear probe's one for each kind of features."""
    result = read_result(path, run=("name", "architecture"), needs=("protocol", "images", "metrics"))
    run, dataset, protocol = result["run"], result["dataset"], result["protocol"]
    try:
        if protocol not in PROTOCOLS:
            raise KeyError(f"protocol {protocol}")
        found = (run["architecture"], result["epoch"])
        about = {"checkpoint": run["name"], **vars(column), "protocol": protocol}
        # Of zero-shot the features are always those after the projection, with length 1.
        probes = result["probes"] if protocol == "linear_probe" else [{"features": "", **result}]
        measured = [
            {
                "features": each["features"],
                "dataset": dataset,
                "images": result["images"],
                "accuracy_pct": 100 * each["metrics"]["accuracy"],
                "mean_per_class_accuracy_pct": 100 * each["metrics"]["mean_per_class_accuracy"],
                "converged": each.get("converged", True),  # zero-shot fits nothing
            }
            for each in probes
        ]
    except (KeyError, TypeError) as error:
        raise InputError(f"{path}: not a result of `cloob evaluate` ({error!r}); make it again") from None
    if found != (column.architecture, column.epoch):
        raise InputError(
            f"{path}: of {found[0]} at epoch {found[1]}, not of {column.architecture} at epoch "
            f"{column.epoch}; correct `published` in the config"
        )
    known = paper.number(*vars(column).values(), protocol, dataset, "accuracy")
    for row in measured:
        beside = {
            "published_accuracy_pct": known and known.mean,
            "difference_pct": known and row["accuracy_pct"] - known.mean,
            "source": known.source if known else "",
        }
        yield about | row | beside | {key: result.get(key) for key in STORED}


def published_document(table: pd.DataFrame) -> Document:
    """A section per checkpoint and kind of features: accuracies in percent, and how far off they are."""
    sections, notes = [], []
    for (*column, features), part in table.groupby([*COLUMN, "features"], sort=False):
        pretraining, architecture, method, epoch = column
        rows = [
            [
                label(row.dataset, DATASETS),
                f"{row.images}",
                number(row.accuracy_pct),
                number(row.published_accuracy_pct, 1),
                number(row.difference_pct, signed=True),
                number(row.mean_per_class_accuracy_pct),
            ]
            for row in part.itertuples()
        ]
        head = ["Test set", "Images", "Measured", "Published", "Difference", "Mean per class"]
        title = f"{method}, {architecture}, {pretraining}, epoch {epoch}"
        of_features = f", features {features.replace('_', ' the ')}" if features else ""
        sections.append(Section(title + of_features, "lrrrrr", head, rows))
        stored = [
            f"{symbol} = {part[key].iloc[0]:.4g}" if pd.notna(part[key].iloc[0]) else f"no {symbol}"
            for key, symbol in STORED.items()
        ]
        notes.append((f"The checkpoint of {title} holds {' and '.join(stored)}.",))
    remarks: list[Prose] = [
        "Published accuracies are rounded to a tenth.",
        "Which variant of ImageNetV2 they are of is unknown.",
    ]
    if table.protocol.iloc[0] == "linear_probe":
        remarks.append("Which features, and which validation images, they are of is unknown too.")
    stuck = [f"{row.checkpoint}, {row.dataset}" for row in table[~table.converged].itertuples()]
    if stuck:
        remarks.append((f"{NOT_CONVERGED}: {'; '.join(dict.fromkeys(stuck))}.",))
    return Document(
        f"The released checkpoints, {PROTOCOLS[table.protocol.iloc[0]]} (%)",
        sections,
        [*remarks, *dict.fromkeys(notes)],
    )
