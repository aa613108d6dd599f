"""The common fields of the evaluate stage's result files, and the check whether a file is up to date."""

from collections.abc import Sequence
from pathlib import Path
from platform import python_version
from typing import Any

from cloob.common.errors import InputError
from cloob.common.hashing import json_sha256
from cloob.common.json_files import read_json, write_json
from cloob.evaluate.features.extractor import FeatureExtractor
from cloob.evaluate.testsets.image_folder import LabeledFolder

Result = dict[str, Any]


def evaluation_metadata(extractor: FeatureExtractor, protocol: str) -> Result:
    """The checkpoint, protocol, precision and versions; for released checkpoints also 1/τ and β as stored."""
    checkpoint = extractor.metadata
    stored = {key: checkpoint[key] for key in ("inv_temperature", "hopfield_beta") if key in checkpoint}
    return {
        "run": checkpoint["run"],
        "epoch": checkpoint["epoch"],
        "protocol": protocol,
        "checkpoint_sha256": extractor.sha256,
        "precision": extractor.precision,
        "versions": {"python": python_version()} | extractor.versions,
    } | stored


def dataset_metadata(extractor: FeatureExtractor, folder: LabeledFolder) -> Result:
    """The test set: its name, numbers of images, classes and prompts, and hashes of images and spec."""
    spec, class_names = folder.spec, folder.class_names
    prompts = spec.prompt_templates()
    return {
        "dataset": spec.name,
        "title": spec.title,
        "images": len(folder),
        "classes": len(class_names),
        "chance": 1 / len(class_names),
        "metric": spec.metric,
        "prompts": len(prompts),
        "dataset_sha256": folder.content_sha256(extractor.cache),
        "spec_sha256": json_sha256([class_names, prompts, folder.targets]),
    }


def is_up_to_date(path: Path, metadata: Result, measured: Sequence[str] = ()) -> bool:
    """Whether a result file has this metadata, so that computing it again would change nothing.

    It must also have the keys `measured`, which files of older versions lack.
    """
    try:
        existing = read_json(path)
    except InputError:  # absent or damaged
        return False
    if not isinstance(existing, dict) or not existing.keys() >= set(measured):
        return False
    return all(existing.get(key) == value for key, value in metadata.items())


def write_result(path: Path, metadata: Result, measured: Result) -> None:
    """Write a result file, metadata first. Raises ValueError if a number is NaN."""
    write_json(path, metadata | measured)
