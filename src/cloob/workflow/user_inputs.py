"""The inputs that only the user can supply: URL lists, files of corpora, test sets without a download."""

import os
from collections.abc import Iterable
from pathlib import Path

from cloob.workflow.corpora import configured_splits, local_inputs, needed_splits, reader_inputs
from cloob.workflow.evaluation import is_remote
from cloob.workflow.released import local_model
from cloob.workflow.runs import Config


def is_result(config: Config, path: str) -> bool:
    """Whether a path is in the results folder, so that the pipeline makes it."""
    return path.startswith(f"{config['results']}/")


def file_exists(path: str | Path) -> bool:
    """Whether a path is a file. `Path.is_file` raises an error for a name that is too long."""
    return os.path.isfile(path)  # noqa: PTH113


def user_inputs(config: Config) -> dict[str, str]:
    """Every user-supplied path of the config, present or not: {config key: path}."""
    paths = {}
    for split in configured_splits(config):
        files = local_inputs(config, split) or reader_inputs(config, split)
        for option, values in files.items():
            for index, path in enumerate(values):
                suffix = f".{index}" if len(values) > 1 else ""
                paths[f"corpora.{split.corpus}.{split.split}.{option}{suffix}"] = path
    for name, testset in config["testsets"].items():
        paths[f"testsets.{name}.folder"] = testset["folder"]
        if testset.get("local_files") and is_result(config, testset["folder"]):
            paths[f"testsets.{name}.local_files"] = testset["local_files"]
    for name, settings in config["evaluate"]["retrieval_sets"].items():
        for key in ("karpathy", "images", "webdataset"):
            if key in settings and not (key == "webdataset" and is_remote(settings)):
                paths[f"evaluate.retrieval_sets.{name}.{key}"] = settings[key]
    for name, model in config["released_checkpoints"].items():
        if local := local_model(model):
            if local == model.get("pretrained"):
                paths[f"released_checkpoints.{name}.pretrained"] = local
            else:
                paths[f"released_checkpoints.{name}.open_clip"] = f"{local}/open_clip_config.json"
    return {key: path for key, path in paths.items() if not is_result(config, path)}


def missing_user_inputs(config: Config) -> dict[str, str]:
    """The user-supplied paths that do not exist yet: {config key: path}."""
    # `Path.exists` raises an error for a name that is too long.
    return {key: path for key, path in user_inputs(config).items() if not os.path.exists(path)}  # noqa: PTH110


def missing_needed_inputs(config: Config) -> dict[str, str]:
    """The missing inputs without those of corpora that neither runs nor retrieval sets use.

    Released models are evaluated on request, except those in `baselines`.
    """
    needed = {f"corpora.{split.name.replace('/', '.')}." for split in needed_splits(config)}
    needed |= {f"released_checkpoints.{name}." for name in config["baselines"]}
    return {
        key: path
        for key, path in missing_user_inputs(config).items()
        if not key.startswith(("corpora.", "released_checkpoints.")) or key.startswith(tuple(needed))
    }


def missing_inputs_message(config: Config, paths: Iterable[str]) -> str:
    """One message that lists missing files with their config keys."""
    keys: dict[str, list[str]] = {path: [] for path in sorted(set(paths))}
    for key, path in missing_user_inputs(config).items():
        if path in keys:
            keys[path].append(key)
    lines = "\n".join(f"  - {path}  (key {', '.join(keys[path])})" for path in keys)
    return (
        "These inputs are missing and have to be supplied by you; copy them there, or set their keys in "
        f"config/config.yaml\n(config/README.md explains where to request each):\n{lines}"
    )
