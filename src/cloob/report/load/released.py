"""Results of released models: read, checked, and as baselines beside the results of runs."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from cloob.common.errors import InputError
from cloob.report.load.inputs import Baseline, Inputs
from cloob.report.load.paper import FINAL, PaperColumn
from cloob.report.load.result_files import read_result

# Column of the data of a figure: the title of a released model, empty for runs.
RELEASED = "released"
_INTEGERS = ("seed", "epoch")  # columns of runs only


def read_released(
    column: PaperColumn, path: Path, protocol: str, keys: Sequence[str] = ("images", "metrics")
) -> dict[str, Any]:
    """A result of a released model, with its `path`. Raises `InputError`, also if it is of another model."""
    result = read_result(path, protocol, run_keys=("name",), keys=("protocol", *keys), needs_epoch=False)
    checkpoint = (result["run"].get("architecture"), result["epoch"])
    if column.epoch != FINAL and checkpoint != (column.architecture, column.epoch):
        raise InputError(
            f"{path}: of {checkpoint[0]} at epoch {checkpoint[1]}, not of {column.architecture} at epoch "
            f"{column.epoch}; correct `released_checkpoints` in the config"
        )
    return result | {"path": path}


def model_title(model: PaperColumn) -> str:
    """`CLOOB, RN50, YFCC15M, epoch 28`."""
    title = f"{model.method}, {model.architecture}, {model.pretraining}"
    return title if model.epoch == FINAL else f"{title}, epoch {model.epoch}"


def read_baselines(
    baselines: Iterable[Baseline], protocol: str, keys: Sequence[str]
) -> Iterator[tuple[Baseline, dict[str, Any]]]:
    """Every baseline with its result (`read_released`). Raises `InputError`, also for duplicates."""
    seen: dict[tuple[PaperColumn, str], Path] = {}
    for baseline in baselines:
        result = read_released(baseline.model, baseline.path, protocol, keys)
        first = seen.setdefault((baseline.model, result["dataset"]), baseline.path)
        if first is not baseline.path:
            raise InputError(f"{baseline.path}: same released model and dataset as {first}; give it once")
        yield baseline, result


def add_baselines(
    data: pd.DataFrame,
    inputs: Inputs,
    protocol: str,
    values: Callable[[dict[str, Any]], Iterable[dict[str, Any]]],
    keys: Sequence[str] = ("metrics",),
) -> pd.DataFrame:
    """Append the baselines to the data of a figure: a row per item of `values(result)`, which has `value`.

    Baselines have the title of the model in the column `released`, its architecture, and neither corpus,
    objective, recipe, seed nor epoch. Without baselines, the data are returned unchanged. Raises
    `InputError`.
    """
    if not inputs.baselines:
        return data
    rows = [
        {RELEASED: model_title(baseline.model), "architecture": baseline.model.architecture} | row
        for baseline, result in read_baselines(inputs.baselines, protocol, keys)
        for row in values(result)
    ]
    runs = data.astype(dict.fromkeys(_INTEGERS, "Int64")).assign(**{RELEASED: ""})
    return pd.concat([runs, pd.DataFrame(rows).astype({"value": float})], ignore_index=True)


def split_baselines(data: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame]:
    """The rows of runs as they were before `add_baselines`, and those of baselines."""
    if RELEASED not in data:
        return data, data.iloc[:0].assign(**{RELEASED: ""})
    runs = data[data[RELEASED] == ""].drop(columns=RELEASED)
    return runs.astype(dict.fromkeys(_INTEGERS, int)), data[data[RELEASED] != ""]
