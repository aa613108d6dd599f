"""Options that several verbs of `cloob evaluate` share: test sets, and the checkpoint to evaluate."""

import argparse
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from cloob.common.arguments import non_negative_int, positive_int
from cloob.common.errors import InputError

if TYPE_CHECKING:
    from cloob.evaluate.features.extractor import FeatureExtractor
    from cloob.evaluate.testsets.spec import TestSetSpec


def add_testsets(verb: argparse.ArgumentParser, note: str = "") -> None:
    """Add the options for the test sets and for the folder of their result files."""
    verb.add_argument(
        "--testset",
        type=spec_and_folder,
        nargs="+",
        action="extend",
        required=True,
        metavar="SPEC.yaml=FOLDER",
        help=f"spec and folder of each test set{note}",
    )
    verb.add_argument(
        "--out-dir", type=Path, required=True, metavar="DIR", help="output folder for <dataset>.json"
    )


def add_checkpoint(verb: argparse.ArgumentParser) -> None:
    """Add the options of every protocol that computes features."""
    verb.add_argument(
        "--checkpoint",
        required=True,
        metavar="PT",
        help="checkpoint of `cloob train` or released by the authors, or an open_clip model: NAME:TAG, "
        "NAME:FILE",
    )
    verb.add_argument(
        "--feature-cache",
        type=Path,
        required=True,
        metavar="DIR",
        help="cache for features, keyed by the content of checkpoint and data",
    )
    verb.add_argument(
        "--batch-size", type=positive_int, default=256, metavar="N", help="images per forward pass"
    )
    verb.add_argument(
        "--precision",
        choices=("float32", "bfloat16"),
        default="float32",
        help="precision of the encoders; float32 disables TF32",
    )
    verb.add_argument(
        "--device", choices=("auto", "cpu", "cuda"), default="auto", help="cuda uses all visible GPUs"
    )
    verb.add_argument(
        "--workers",
        type=non_negative_int,
        default=0,
        metavar="N",
        help="processes that decode images; 0 decodes in the main process",
    )


def spec_and_folder(text: str) -> tuple[Path, Path]:
    """Parse SPEC=FOLDER, where both paths may contain `=`: the spec is the shortest prefix that is a file."""
    parts = text.split("=")
    pairs = [("=".join(parts[:end]), "=".join(parts[end:])) for end in range(1, len(parts))]
    pairs = [(spec, folder) for spec, folder in pairs if spec and folder]
    if not pairs:
        raise argparse.ArgumentTypeError(f"{text!r} is not of the form SPEC.yaml=FOLDER")
    existing = [pair for pair in pairs if Path(pair[0]).is_file()]
    spec, folder = (existing or pairs)[0]
    return Path(spec), Path(folder)


def load_extractor(options: argparse.Namespace) -> "FeatureExtractor":
    """Load the checkpoint given by the options of `add_checkpoint`. Raises `InputError`."""
    from cloob.evaluate.features.extractor import FeatureExtractor

    return FeatureExtractor(
        options.checkpoint,
        options.feature_cache,
        options.batch_size,
        options.workers,
        options.device,
        options.precision,
    )


def load_specs(testsets: list[tuple[Path, Path]]) -> list[tuple["TestSetSpec", Path]]:
    """Load the spec of each test set, with the changes stored in its folder.

    Raises `InputError`, also for duplicate names.
    """
    from cloob.evaluate.testsets.spec import load_spec
    from cloob.evaluate.testsets.spec_changes import changed_spec

    loaded = [(changed_spec(load_spec(spec), folder), folder) for spec, folder in testsets]
    check_distinct("--testset", [spec.name for spec, _ in loaded])
    return loaded


def check_folders_differ(options: argparse.Namespace, first: str, second: str) -> None:
    """Raise `InputError` if two options name the same output folder, whose files have the same names."""
    folders = [getattr(options, option[2:].replace("-", "_")) for option in (first, second)]
    if all(folders) and len({folder.resolve() for folder in folders}) == 1:
        raise InputError(f"{second}: {folders[1]} is also {first}; give another folder")


def check_distinct(option: str, names: Iterable[str]) -> None:
    """Raise `InputError` if an option names a set twice."""
    names = list(names)
    if len(set(names)) != len(names):
        raise InputError(f"{option}: duplicate name among {', '.join(names)}; give each set once")
