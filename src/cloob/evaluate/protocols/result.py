"""What all result files of the evaluate stage have in common, and when one need not be made again."""

from pathlib import Path
from platform import python_version
from typing import Any

from cloob.common.errors import InputError
from cloob.common.json_files import read_json, write_json
from cloob.evaluate.features.cache import text_sha256
from cloob.evaluate.features.extractor import FeatureExtractor
from cloob.evaluate.testsets.image_folder import LabeledFolder

Result = dict[str, Any]


def about_checkpoint(extractor: FeatureExtractor, protocol: str) -> Result:
    """Which checkpoint was evaluated by which protocol, and how; of a released one 1/τ and β as stored."""
    stored = {
        key: extractor.about[key] for key in ("inv_temperature", "hopfield_beta") if key in extractor.about
    }
    return {
        "run": extractor.about["run"],
        "epoch": extractor.about["epoch"],
        "protocol": protocol,
        "checkpoint_sha256": extractor.sha256,
        "precision": extractor.precision,
        "versions": {"python": python_version()} | extractor.versions,
    } | stored


def about_testset(extractor: FeatureExtractor, folder: LabeledFolder) -> Result:
    """Which test set, of how many images and classes."""
    described, names = folder.description, folder.class_names
    prompts = described.prompt_templates()
    return {
        "dataset": described.name,
        "title": described.title,
        "images": len(folder),
        "classes": len(names),
        "chance": 1 / len(names),
        "metric": described.metric,
        "prompts": len(prompts),
        "dataset_sha256": folder.content_sha256(extractor.cache),
        "description_sha256": text_sha256([names, prompts, folder.targets]),
    }


def is_there(path: Path, about: Result) -> bool:
    """Whether a result file is of the same checkpoint, data and versions: it would come out the same."""
    try:
        found = read_json(path)
    except InputError:  # absent or damaged: both are made
        return False
    return isinstance(found, dict) and all(found.get(key) == value for key, value in about.items())


def write_result(path: Path, about: Result, measured: Result) -> None:
    """Write a result file, its metrics behind what they are of; no number in it is NaN (ValueError)."""
    write_json(path, about | measured)
