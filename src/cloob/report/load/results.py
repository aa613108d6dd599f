"""The result files of the evaluate stage as one long table, a row per run, epoch, test set and metric."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from cloob.common.atomic_files import atomic_write
from cloob.common.errors import InputError
from cloob.report.load.result_file import read_result
from cloob.report.names import ARCHITECTURES, CORPORA, DATASETS, OBJECTIVES, ranks

# What makes two rows rows of the same column of the paper's table; seeds are averaged within.
COLUMN = ["corpus", "architecture", "objective", "recipe", "epoch"]
COLUMNS = [
    "corpus",
    "architecture",
    "objective",
    "recipe",
    "seed",
    "epoch",
    "dataset",
    "metric",
    "value",
    "chance",
]
IDENTITY = COLUMNS[:-2]
# Rows of a table's CSV that are one run's value; the others are taken over its seeds.
MEASURED = "measured"
# How a result was made: what one column averages is made alike.
_ALIKE = ("precision", "training", "dataset_sha256", "spec_sha256")
_GUESSES = {"accuracy_top5": 5}  # so many guesses, so many times the chance
_ORDERS = {
    "corpus": CORPORA,
    "architecture": ARCHITECTURES,
    "objective": OBJECTIVES,
    "dataset": DATASETS,
}


def read_results(paths: Sequence[Path], protocol: str = "zeroshot") -> pd.DataFrame:
    """Result files of one protocol -> the long table, in the order of the paper. Raises `InputError`.

    A linear probe's metrics are those of its first kind of features, the same one in all files; of a further
    kind they carry its name, as in `accuracy_before_projection`.
    """
    results = [(path, read_result(path, protocol)) for path in paths]
    rows = [row for path, result in results for row in _rows(path, result)]
    _check_kinds(results)
    _check_alike(results)
    table = pd.DataFrame(rows, columns=[*COLUMNS, "path"])
    twice = table[table.duplicated(IDENTITY, keep=False)]
    if len(twice):
        files = ", ".join(sorted({str(path) for path in twice.path}))
        raise InputError(
            f"--results: the same run, epoch and test set is given twice ({files}); give it once"
        )
    return sorted_rows(table.drop(columns="path"))


def sorted_rows(table: pd.DataFrame) -> pd.DataFrame:
    """The rows in the order of the paper; those of one cell as they were."""
    return table.sort_values(IDENTITY, key=_ranks, ignore_index=True, kind="stable")


def write_table(table: pd.DataFrame, path: Path) -> None:
    """Write a table as CSV; floats in their shortest exact form, so that equal numbers are equal bytes.

    Text is written as it is, also what a spreadsheet would read as a formula: the table is for programs.
    Bytes of a file name that are not UTF-8 are written as escapes.
    """
    with atomic_write(path) as beside:
        table.to_csv(beside, index=False, lineterminator="\n", errors="backslashreplace")


def _rows(path: Path, result: dict[str, Any]) -> list[list[object]]:
    run = result["run"]
    start = [run["corpus"], run["architecture"], run["objective"], run["recipe"], run["seed"]]
    start += [result["epoch"], result["dataset"]]
    metrics = dict(result["metrics"])
    for probe in result.get("probes", [])[1:]:
        metrics |= {f"{metric}_{probe['features']}": value for metric, value in probe["metrics"].items()}
    chance = result.get("chance")
    return [
        [*start, metric, float(value), chance and chance * _GUESSES.get(metric, 1), path]
        for metric, value in metrics.items()
        if value is not None
    ]


def _check_kinds(results: Sequence[tuple[Path, dict[str, Any]]]) -> None:
    """Without a name in it, a metric must be of the same kind of features everywhere."""
    first: dict[str, Path] = {}
    for path, result in results:
        for probe in result.get("probes", [])[:1]:
            first.setdefault(probe["features"], path)
    if len(first) > 1:
        (kind, path), (other, there), *_ = first.items()
        raise InputError(
            f"{there}: its first features are {other}, those of {path} are {kind}; make one of them again, "
            "with the other's order of evaluate.linear_probe.features"
        )


def _check_alike(results: Sequence[tuple[Path, dict[str, Any]]]) -> None:
    """The results of a column's seeds differ in nothing but the run."""
    first: dict[tuple[Any, ...], tuple[Path, Any]] = {}
    for path, result in results:
        about = result["run"] | result
        for key in (each for each in _ALIKE if each in about):
            column = (*(about[each] for each in COLUMN), about["dataset"], key)
            there, value = first.setdefault(column, (path, about[key]))
            if about[key] != value:
                raise InputError(f"{path}: its {key} is not that of {there}; make it again, as the other was")


def _ranks(column: pd.Series) -> pd.Series:
    if column.name not in _ORDERS:
        return column
    return column.map(ranks(column, _ORDERS[column.name]))
