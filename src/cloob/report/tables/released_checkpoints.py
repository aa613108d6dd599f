"""Released models evaluated by this pipeline, compared with the numbers that their makers report."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pandas as pd

from cloob.common.errors import InputError
from cloob.report.load.inputs import Inputs
from cloob.report.load.paper import FINAL, Paper, PaperColumn
from cloob.report.load.released import model_title, read_released
from cloob.report.names import DATASETS, display_name, features_title, positions
from cloob.report.render.document import Document, Section
from cloob.report.render.numbers import number
from cloob.report.render.text import Prose
from cloob.report.tables.linear_probe import NOT_CONVERGED

COLUMN = ["pretraining", "architecture", "method", "epoch"]
# Stored parameters of a checkpoint, None if it has no such parameter.
STORED = {"inv_temperature": "1/τ", "hopfield_beta": "β"}
_HEADER = ["Test set", "Images", "Measured", "Published", "Difference", "Mean per class"]


def released_table(
    inputs: Inputs, protocol: str, title: str, remarks: Sequence[Prose] = ()
) -> tuple[Document, pd.DataFrame]:
    """A section per checkpoint and kind of features, a row per test set: measured, published, difference.

    Raises `InputError` as `released_rows` does.
    """
    section = [*COLUMN, "features"]
    table = released_rows(
        inputs, lambda column, path, paper: _rows(column, path, protocol, paper), section, ["dataset"]
    )
    return _document(table, title, remarks), table.drop(columns="published_decimals")


def released_rows(
    inputs: Inputs,
    rows_of: Callable[[PaperColumn, Path, Paper], Iterator[dict[str, Any]]],
    section: Sequence[str],
    row: Sequence[str],
) -> pd.DataFrame:
    """The rows of all results, sorted by the columns `section`, then by test set.

    The columns `row` tell the rows of a section apart. Raises `InputError` for a result of another protocol,
    architecture or epoch, and for duplicates.
    """
    if inputs.paper is None:
        raise InputError(
            "--paper: give the CSV of the paper's results, which the checkpoints are compared with"
        )
    paper = Paper(inputs.paper)
    rows = [row for column, path in inputs.released for row in rows_of(column, path, paper)]
    if not rows:
        raise InputError("--released: no results given; evaluate a released checkpoint first")
    table = pd.DataFrame(rows)
    if (duplicates := table.duplicated([*section, *row])).any():
        dataset = table[duplicates].dataset.iloc[0]
        raise InputError(f"--released: {dataset} is given twice for the same checkpoint; give it once")
    order = positions(table.dataset, DATASETS)
    table = table.sort_values("dataset", key=lambda names: names.map(order), kind="stable")
    keys = [table[name].astype(str) for name in section]
    in_order = sorted(range(len(table)), key=lambda number: [key.iloc[number] for key in keys])
    return table.iloc[in_order].reset_index(drop=True)


def _rows(column: PaperColumn, path: Path, protocol: str, paper: Paper) -> Iterator[dict[str, Any]]:
    """One row, or one per kind of features of a linear probe."""
    result = read_released(column, path, protocol)
    run, dataset = result["run"], result["dataset"]
    published = paper.number(column, protocol, dataset, "accuracy")
    try:
        # Zero-shot uses the normalized features after the projection and fits nothing.
        probes = result["probes"] if protocol == "linear_probe" else [{"features": "", **result}]
        for probe in probes:
            accuracy = 100 * probe["metrics"]["accuracy"]
            yield {
                "checkpoint": run["name"],
                **asdict(column),
                "protocol": protocol,
                "features": probe["features"],
                "dataset": dataset,
                "images": result["images"],
                "accuracy_pct": accuracy,
                "mean_per_class_accuracy_pct": 100 * probe["metrics"]["mean_per_class_accuracy"],
                "converged": probe.get("converged", True),
                "published_accuracy_pct": published and published.mean,
                "published_decimals": published.decimals if published else 0,
                "difference_pct": published and accuracy - published.mean,
                "source": published.source if published else "",
                **{key: result.get(key) for key in STORED},
            }
    except (KeyError, TypeError) as error:
        raise InputError(f"{path}: not a result of `cloob evaluate` ({error!r}); evaluate it again") from None


def _document(table: pd.DataFrame, title: str, remarks: Sequence[Prose]) -> Document:
    sections, stored_remarks = [], []
    for (*column, features), part in table.groupby([*COLUMN, "features"], sort=False):
        pretraining, architecture, method, epoch = column
        rows = [
            [
                display_name(row.dataset, DATASETS),
                f"{row.images}",
                number(row.accuracy_pct),
                number(row.published_accuracy_pct, row.published_decimals),
                number(row.difference_pct, signed=True),
                number(row.mean_per_class_accuracy_pct),
            ]
            for row in part.itertuples()
        ]
        checkpoint = model_title(PaperColumn(pretraining, architecture, method, epoch))
        suffix = f", {features_title(features)}" if features else ""
        sections.append(Section(checkpoint + suffix, "lrrrrr", _HEADER, rows))
        if epoch == FINAL:
            continue  # of open_clip, without metadata
        stored = [
            f"{symbol} = {part[key].iloc[0]:.4g}" if pd.notna(part[key].iloc[0]) else f"no {symbol}"
            for key, symbol in STORED.items()
        ]
        stored_remarks.append((f"Stored in the checkpoint of {checkpoint}: {' and '.join(stored)}.",))
    all_remarks: list[Prose] = [
        "Published accuracies of the paper are rounded to one decimal. Both are of the same weights and test "
        "set, so the difference is of the evaluation alone, and there is nothing to test.",
        "Published accuracies of open_clip's models are those in its docs/openclip_results.csv.",
        "It is unknown which variant of ImageNetV2 the paper evaluates.",
        *remarks,
    ]
    not_converged = [f"{row.checkpoint}, {row.dataset}" for row in table[~table.converged].itertuples()]
    if not_converged:
        all_remarks.append((f"{NOT_CONVERGED}: {'; '.join(dict.fromkeys(not_converged))}.",))
    return Document(title, sections, [*all_remarks, *dict.fromkeys(stored_remarks)])
