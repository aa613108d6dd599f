"""The result files of one protocol as a long table: a row per run, epoch, test set and metric.

`image_low` and `image_high` are the 95% interval over test images of metrics that have one.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from cloob.common.atomic_files import atomic_write
from cloob.common.errors import InputError
from cloob.report.load.result_files import image_interval, read_result
from cloob.report.names import ORDERS, positions

# Rows that agree in these belong to the same column of the paper's tables; seeds are averaged.
TABLE_COLUMN = ["corpus", "architecture", "objective", "recipe", "epoch"]
# Rows that agree in these are compared: objectives may have different recipes.
_COMPARED = ["corpus", "architecture", "epoch"]
COLUMNS = [
    *("corpus", "architecture", "objective", "recipe", "seed", "epoch"),
    *("dataset", "metric", "value", "chance", "image_low", "image_high"),
]
IDENTITY = COLUMNS[: COLUMNS.index("value")]
# `statistic` of a table's rows with the value of a single run; other rows aggregate over seeds.
MEASURED = "measured"
# How a result was computed; seeds are averaged, and objectives compared, only if these agree.
_COMPARABLE = ("precision", "training", "dataset_sha256", "spec_sha256")
_GUESSES = {"accuracy_top5": 5}  # metric -> number of guesses, which multiplies the chance level


def read_long_table(paths: Sequence[Path], protocol: str = "zeroshot") -> pd.DataFrame:
    """Result files of one protocol -> table with columns `COLUMNS`, in the paper's order.

    The metrics of a linear probe's first features keep their name; the name of other features is appended, as
    in `accuracy_before_projection`. Raises `InputError` if the first features are not the same in all files,
    if seeds or objectives were evaluated differently, or if a result is given twice.
    """
    results = [(path, read_result(path, protocol)) for path in paths]
    rows = [row for path, result in results for row in _rows(path, result)]
    _check_first_features(results)
    _check_comparable(results)
    table = pd.DataFrame(rows, columns=[*COLUMNS, "path"])
    duplicates = table[table.duplicated(IDENTITY, keep=False)]
    if len(duplicates):
        files = ", ".join(sorted({str(path) for path in duplicates.path}))
        raise InputError(
            f"--results: the same run, epoch and test set is given twice ({files}); give it once"
        )
    return sort_rows(table.drop(columns="path"))


def sort_rows(table: pd.DataFrame) -> pd.DataFrame:
    """The rows in the paper's order (stable)."""
    return table.sort_values(IDENTITY, key=_sort_key, ignore_index=True, kind="stable")


def write_csv(table: pd.DataFrame, path: Path) -> None:
    """Write a table as CSV with floats in their shortest exact form: equal numbers give equal bytes.

    Text is not escaped for spreadsheets, because the file is for programs. Bytes of file names that are not
    UTF-8 become escapes.
    """
    with atomic_write(path) as temporary:
        table.to_csv(temporary, index=False, lineterminator="\n", errors="backslashreplace")


def _rows(path: Path, result: dict[str, Any]) -> list[list[object]]:
    run = result["run"]
    identity = [run["corpus"], run["architecture"], run["objective"], run["recipe"], run["seed"]]
    identity += [result["epoch"], result["dataset"]]
    chance = result.get("chance")
    probes = result.get("probes", [])[1:]
    parts = [("", result), *((f"_{probe['features']}", probe) for probe in probes)]
    return [
        [
            *(*identity, f"{metric}{suffix}", float(value)),
            chance and chance * _GUESSES.get(metric, 1),
            *image_interval(part, metric, path),
            path,
        ]
        for suffix, part in parts
        for metric, value in part["metrics"].items()
        if value is not None
    ]


def _check_first_features(results: Sequence[tuple[Path, dict[str, Any]]]) -> None:
    """A metric without a suffix must be of the same features in all files."""
    first: dict[str, Path] = {}
    for path, result in results:
        for probe in result.get("probes", [])[:1]:
            first.setdefault(probe["features"], path)
    if len(first) > 1:
        (features, path), (other, other_path), *_ = first.items()
        raise InputError(
            f"{other_path}: its first features are {other}, but those of {path} are {features}; evaluate one "
            "of them again with the same order of evaluate.linear_probe.features"
        )


def _check_comparable(results: Sequence[tuple[Path, dict[str, Any]]]) -> None:
    """Results that are averaged over seeds, or compared, must have been computed in the same way."""
    first: dict[tuple[Any, ...], tuple[Path, Any]] = {}
    for path, result in results:
        fields = result["run"] | result
        for key in (key for key in _COMPARABLE if key in fields):
            group = (*(fields[name] for name in _COMPARED), fields["dataset"], key)
            first_path, value = first.setdefault(group, (path, fields[key]))
            if fields[key] != value:
                raise InputError(
                    f"{path}: {key} differs from {first_path}; evaluate it again with the same settings"
                )


def _sort_key(column: pd.Series) -> pd.Series:
    if column.name in ORDERS:
        return column.map(positions(column, ORDERS[column.name]))
    return column
