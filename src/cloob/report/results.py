"""The result files of the evaluate stage as one long table, a row per run, epoch, test set and metric."""

from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from cloob.errors import InputError
from cloob.files import read_json, replacing
from cloob.report.names import CORPORA, DATASETS, OBJECTIVES, check_objective, in_order

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
_GUESSES = {"accuracy_top5": 5}  # so many guesses, so many times the chance
_ORDERS = {"corpus": CORPORA, "objective": OBJECTIVES, "dataset": DATASETS}


def read_results(paths: Sequence[Path]) -> pd.DataFrame:
    """Zero-shot result files -> the long table, in the order of the paper. Raises `InputError`."""
    rows = [row for path in paths for row in _rows(path)]
    table = pd.DataFrame(rows, columns=[*COLUMNS, "path"])
    twice = table[table.duplicated(COLUMNS[:-2], keep=False)]
    if len(twice):
        files = ", ".join(sorted({str(path) for path in twice.path}))
        raise InputError(
            f"--results: the same run, epoch and test set is given twice ({files}); give it once"
        )
    return table.drop(columns="path").sort_values(COLUMNS[:-2], key=_ranks, ignore_index=True)


def write_table(table: pd.DataFrame, path: Path) -> None:
    """Write a table as CSV; floats in their shortest exact form, so that equal numbers are equal bytes."""
    with replacing(path) as beside:
        table.to_csv(beside, index=False, lineterminator="\n")


def read_table(path: Path) -> pd.DataFrame:
    """Read back what `read_results` and `write_table` made. Raises `InputError`."""
    try:
        table = pd.read_csv(path, keep_default_na=False)
    except (OSError, ValueError) as error:
        raise InputError(
            f"{path}: not a readable table ({error}); make it by `cloob report zeroshot`"
        ) from None
    if list(table.columns) != COLUMNS:
        raise InputError(
            f"{path}: its columns are not {','.join(COLUMNS)}; make it by `cloob report zeroshot`"
        )
    return table


def _rows(path: Path) -> list[list[object]]:
    result = read_json(path)
    try:
        run = result["run"]
        check_objective(run["objective"], path)
        start = [run["corpus"], run["architecture"], run["objective"], run["recipe"], run["seed"]]
        start += [result["epoch"], result["dataset"]]
        return [
            [*start, metric, value, result["chance"] * _GUESSES.get(metric, 1), path]
            for metric, value in result["metrics"].items()
            if value is not None
        ]
    except (KeyError, TypeError, AttributeError) as error:
        raise InputError(
            f"{path}: not a result of `cloob evaluate zeroshot` ({error!r}); make it again"
        ) from None


def _ranks(column: pd.Series) -> pd.Series:
    if column.name not in _ORDERS:
        return column
    order = {name: rank for rank, name in enumerate(in_order(column, _ORDERS[column.name]))}
    return column.map(order)
