"""Results of `cloob evaluate overlap`, joined with zero-shot results image by image."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from cloob.common.bit_strings import unpack_bits
from cloob.common.errors import InputError
from cloob.report.load.inputs import Baseline
from cloob.report.load.json_checks import ANYTHING, NUMBER, read_json, type_error
from cloob.report.load.released import RELEASED, model_title, read_baselines
from cloob.report.load.result_files import RUN_KEYS, distinct_results
from cloob.report.names import DATASETS, positions

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
_SCHEMA = _COLUMNS | {
    "protocol": (str,),
    "dataset_sha256": (str,),
    "overlapping_images": (str,),
    "matches": [ANYTHING],
    "*": ANYTHING,
}
_REMEDY = "delete it and run `cloob evaluate overlap` again"
# Columns of `correct_images`.
CORRECT_COLUMNS = [*RUN_KEYS, "epoch", RELEASED, "dataset", "correct", "correct_overlapping"]
_RESULT_KEYS = ("metrics", "images", "correct_images", "dataset_sha256")


@dataclass(frozen=True)
class Overlap:
    """A result of `cloob evaluate overlap`: its numbers (`COLUMNS`), and which test images overlap (n,)."""

    path: Path
    numbers: dict[str, Any]
    dataset_sha256: str
    overlapping: NDArray[np.bool_]


def read_overlaps(paths: Sequence[Path]) -> dict[tuple[str, str], Overlap]:
    """Results by (corpus, test set), in the paper's order. Raises `InputError`."""
    found: dict[tuple[str, str], Overlap] = {}
    for path in paths:
        overlap = _read_overlap(path)
        pair = (overlap.numbers["corpus"], overlap.numbers["dataset"])
        if pair in found:
            raise InputError(f"--results: {pair[0]} and {pair[1]} are given twice; give each pair once")
        found[pair] = overlap
    corpora = positions(corpus for corpus, _ in found)
    datasets = positions((dataset for _, dataset in found), DATASETS)
    return dict(sorted(found.items(), key=lambda item: (corpora[item[0][0]], datasets[item[0][1]])))


def _read_overlap(path: Path) -> Overlap:
    result = read_json(path, "no such result; run `cloob evaluate overlap`", _REMEDY)
    problem = type_error(result, _SCHEMA)
    if problem is None and result["protocol"] != "overlap":
        problem = f"protocol is {result['protocol']}"
    if problem is None and len(result["matches"]) != result["overlapping"]:
        problem = f"overlapping is {result['overlapping']}, but there are {len(result['matches'])} matches"
    if problem is None:
        try:
            overlapping = unpack_bits(result["overlapping_images"], result["images"])
            if overlapping.sum() == result["overlapping"]:
                numbers = {column: result[column] for column in COLUMNS}
                return Overlap(path, numbers, result["dataset_sha256"], overlapping)
            problem = f"overlapping is {result['overlapping']}, but {overlapping.sum()} bits are set"
        except ValueError as error:
            problem = f"overlapping_images: {error}"
    raise InputError(f"{path}: not a result of `cloob evaluate overlap`: {problem}; {_REMEDY}")


def correct_images(
    paths: Sequence[Path], baselines: Sequence[Baseline], overlaps: Mapping[tuple[str, str], Overlap]
) -> pd.DataFrame:
    """Zero-shot results -> the numbers of correct images, with columns `CORRECT_COLUMNS`.

    Runs have an empty string as `released`; released models have the title of the model, its corpus and
    architecture, and no other of `RUN_KEYS`. Results on test sets whose overlap with the corpus of the model
    is not given are left out. Raises `InputError`, also if a result is of other images than the overlap.
    """
    rows: list[dict[str, Any]] = []
    for identity, result in distinct_results(paths, "zeroshot", _RESULT_KEYS) if paths else ():
        rows.append(identity | {RELEASED: "", "result": result})
    for baseline, result in read_baselines(baselines, "zeroshot", _RESULT_KEYS):
        names = {"corpus": baseline.corpus, "architecture": baseline.model.architecture}
        rows.append(names | {RELEASED: model_title(baseline.model), "result": result})
    counted = []
    for row in rows:
        result = row.pop("result")
        overlap = overlaps.get((row["corpus"], result["dataset"]))
        if overlap is not None:
            correct = _correct(result, overlap)
            numbers = {"correct": correct.sum(), "correct_overlapping": correct[overlap.overlapping].sum()}
            counted.append(row | {"dataset": result["dataset"]} | numbers)
    return pd.DataFrame(counted, columns=CORRECT_COLUMNS)


def _correct(result: dict[str, Any], overlap: Overlap) -> NDArray[np.bool_]:
    """Which images are classified correctly (n,)."""
    path = result["path"]
    if (result["dataset_sha256"], result["images"]) != (overlap.dataset_sha256, len(overlap.overlapping)):
        raise InputError(
            f"{path}: its test images are not those of {overlap.path}; delete the older one of both"
        )
    try:
        correct = unpack_bits(result["correct_images"], result["images"])
    except ValueError as error:
        raise InputError(f"{path}: correct_images: {error}; delete it and evaluate the run again") from None
    accuracy = result["metrics"].get("accuracy")
    if accuracy is None or abs(correct.mean() - accuracy) > 1e-9:
        raise InputError(
            f"{path}: correct_images do not give metrics.accuracy; delete it and evaluate the run again"
        )
    return correct
