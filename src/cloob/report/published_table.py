"""The released checkpoints as this pipeline evaluates them, beside what the paper reports of them."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from cloob.errors import InputError
from cloob.files import read_json
from cloob.report.names import DATASETS, PAPER_DATASETS, label, ranks
from cloob.report.sources import write_sources
from cloob.report.table import Document, Section, number, write_document

COLUMN = ["pretraining", "architecture", "method", "epoch"]
METRIC = "zeroshot_accuracy_pct"
# What a checkpoint carries of its training: nothing where the file has None.
STORED = {"inverse_temperature": "1/τ", "hopfield_beta": "β"}


@dataclass(frozen=True)
class Column:
    """A column of the paper's tables, by the keys of config/paper_results.csv."""

    pretraining: str
    architecture: str
    method: str
    epoch: int


def report_published(results: Sequence[tuple[Column, Path]], paper: Path, csv: Path, mark: str) -> None:
    """Write a row per released checkpoint and test set: measured, published, their difference.

    As .csv, .md and .tex. `results` are zero-shot result files with the column of the paper that each stands
    against. Raises `InputError` for one of another architecture or epoch than its column's, or given twice.
    """
    table = _compare(results, _published(paper))
    written = write_document(published_document(table), table, mark, csv)
    write_sources(written, [paper, *(path for _, path in results)], packages=["pandas"])


def _published(paper: Path) -> pd.DataFrame:
    """The paper's zero-shot accuracies in percent, by column and test set."""
    try:
        table = pd.read_csv(paper)
        table = table[(table.metric == METRIC) & table.epoch.notna()]
        return table.astype({"epoch": int}).set_index([*COLUMN, "dataset"])[["mean", "source"]]
    except (OSError, ValueError, AttributeError, KeyError) as error:
        raise InputError(f"{paper}: not the table of the paper's results ({error})") from None


def _compare(results: Sequence[tuple[Column, Path]], published: pd.DataFrame) -> pd.DataFrame:
    rows = []
    for column, path in results:
        result = read_json(path)
        try:
            run, metrics, dataset = result["run"], result["metrics"], result["dataset"]
            found = (run["architecture"], result["epoch"])
            row = {
                "checkpoint": run["name"],
                **vars(column),
                "dataset": dataset,
                "images": result["images"],
                "accuracy_pct": 100 * metrics["accuracy"],
                "mean_per_class_accuracy_pct": 100 * metrics["mean_per_class_accuracy"],
            }
        except (KeyError, TypeError) as error:
            raise InputError(
                f"{path}: not a result of `cloob evaluate zeroshot` ({error!r}); make it again"
            ) from None
        if found != (column.architecture, column.epoch):
            raise InputError(
                f"{path}: of {found[0]} at epoch {found[1]}, not of {column.architecture} at epoch "
                f"{column.epoch}; correct `published` in the config"
            )
        key = (*vars(column).values(), PAPER_DATASETS.get(dataset, dataset))
        known = published.loc[[key]].iloc[0] if key in published.index else None
        row["published_accuracy_pct"] = None if known is None else known["mean"]
        row["difference_pct"] = None if known is None else row["accuracy_pct"] - known["mean"]
        row["source"] = "" if known is None else known["source"]
        row |= {key: result.get(key) for key in STORED}
        rows.append(row)
    table = pd.DataFrame(rows)
    if (twice := table.duplicated([*COLUMN, "dataset"])).any():
        raise InputError(f"--results: {table[twice].dataset.iloc[0]} is given twice for a checkpoint")
    order = ranks(table.dataset, DATASETS)
    return table.sort_values("dataset", key=lambda names: names.map(order), kind="stable").sort_values(
        COLUMN, kind="stable", ignore_index=True
    )


def published_document(table: pd.DataFrame) -> Document:
    """A section per checkpoint: accuracies in percent, and how far they are from the published ones."""
    sections, notes = [], []
    for (pretraining, architecture, method, epoch), part in table.groupby(COLUMN, sort=False):
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
        sections.append(Section(title, "lrrrrr", head, rows))
        stored = [
            f"{symbol} = {part[key].iloc[0]:.4g}" if pd.notna(part[key].iloc[0]) else f"no {symbol}"
            for key, symbol in STORED.items()
        ]
        notes.append(f"The checkpoint of {title} holds {' and '.join(stored)}.")
    return Document(
        "The released checkpoints, zero-shot accuracy (%)",
        sections,
        [
            "Published accuracies are rounded to a tenth.",
            "Which variant of ImageNetV2 they are of is unknown.",
            *notes,
        ],
    )
