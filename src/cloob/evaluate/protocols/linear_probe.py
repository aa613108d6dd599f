"""Linear probe by CLIP's protocol: logistic regression on the frozen image features of a test set.

The L2 strength with the best validation accuracy is selected from a sweep; the classifier is then refitted on
the training and validation images together and evaluated on the test images. Features are not normalized.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import compress
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from cloob.common.errors import InputError
from cloob.common.hashing import json_sha256
from cloob.evaluate.features.extractor import FeatureExtractor, ImageFeatures
from cloob.evaluate.features.finite import CHUNK_ROWS
from cloob.evaluate.probe.selection import fit_probe
from cloob.evaluate.protocols.result import (
    dataset_metadata,
    evaluation_metadata,
    is_up_to_date,
    write_result,
)
from cloob.evaluate.testsets.image_folder import LabeledFolder
from cloob.evaluate.testsets.leftovers import abbreviated
from cloob.evaluate.testsets.spec import TestSetSpec

FEATURES = ("after_projection", "before_projection")


@dataclass(frozen=True)
class Settings:
    """Features to probe, the sweep, and the validation split of a test set that does not provide one."""

    features: tuple[str, ...]  # of FEATURES
    l2_strengths: tuple[float, ...]
    val_fraction: float  # of the training images of each class
    seed: int


def l2_sweep(l2_min: float, l2_max: float, l2_num: int) -> tuple[float, ...]:
    """`l2_num` L2 strengths from `l2_min` to `l2_max`, evenly spaced on a log scale."""
    return tuple(float(f"{strength:.6g}") for strength in np.geomspace(l2_min, l2_max, l2_num))


def evaluate_linear_probe(
    extractor: FeatureExtractor,
    testsets: Sequence[tuple[TestSetSpec, Path]],
    probe_train_sets: Mapping[str, str],
    settings: Settings,
    out_dir: Path,
    keep_train_features: bool = False,
) -> None:
    """Probe test sets, each given as (spec, folder), and write `out_dir`/<dataset>.json.

    `probe_train_sets` maps the name of a test set to the name of another test set whose training images it
    uses (ImageNetV2 uses ImageNet's). All test sets are validated before the first is evaluated. Result files
    that are up to date are not recomputed. Unless `keep_train_features`, the cached features of training and
    validation images are deleted as soon as the results are written. Raises `InputError`.
    """
    known = {spec.name: (spec, folder) for spec, folder in testsets}
    for name in {*probe_train_sets, *probe_train_sets.values()} - set(known):
        raise InputError(f"--probe-train-set: unknown test set {name}; list it with --testset")
    tests = {name: LabeledFolder(*testset) for name, testset in known.items()}
    train_set_of = {name: probe_train_sets.get(name, name) for name in known}
    splits_of = {name: _train_splits(*known[name]) for name in sorted(set(train_set_of.values()))}
    for name, train_set in train_set_of.items():
        if tests[name].class_names != tests[train_set].class_names:
            raise InputError(
                f"{known[name][0].path}: its classes differ from those of {train_set}; correct "
                "--probe-train-set"
            )
    checkpoint = evaluation_metadata(extractor, "linear_probe")
    for train_set, splits in splits_of.items():
        pending = {}
        for test in (tests[name] for name in known if train_set_of[name] == train_set):
            _check_disjoint(extractor, test, splits)
            metadata = (
                checkpoint
                | dataset_metadata(extractor, test)
                | {"training": _training_metadata(extractor, test, splits, settings)}
            )
            if not is_up_to_date(out_dir / f"{test.spec.name}.json", metadata):
                pending[test.spec.name] = metadata
        if pending:
            results = _probe(extractor, splits, {name: tests[name] for name in pending}, settings)
            for name, metadata in pending.items():
                write_result(out_dir / f"{name}.json", metadata, results[name])
        if not keep_train_features:
            for split in splits:
                extractor.delete_image_features(split)


def _probe(
    extractor: FeatureExtractor,
    splits: Sequence[LabeledFolder],
    tests: Mapping[str, LabeledFolder],
    settings: Settings,
) -> dict[str, dict[str, Any]]:
    """Fit one probe per kind of features and evaluate it on all test sets; results by test set."""
    parts, labels, num_train = _train_and_validation(extractor, splits, settings)
    test_features = {name: extractor.image_features(folder) for name, folder in tests.items()}
    for kind in settings.features:  # before a fit, which may take hours
        _features(parts[0][0], kind)
    classes = len(splits[0].class_names)
    probes: dict[str, list[dict[str, Any]]] = {name: [] for name in tests}
    for kind in settings.features:
        title = f"{splits[0].spec.title}, {kind.replace('_', ' ')}"
        selected = [(_features(images, kind), rows, images.release_pages) for images, rows in parts]
        images = gather_rows(selected, extractor.device), labels.to(extractor.device)
        probe = fit_probe(images, num_train, classes, settings.l2_strengths, title)
        for name, test in test_features.items():
            features = _features(test, kind).to(extractor.device)
            probes[name].append({"features": kind} | probe.evaluate(features, test.labels))
    counts = {"training_images": num_train, "validation_images": len(labels) - num_train}
    return {
        name: counts
        | {"probes": probes[name]}
        | {key: probes[name][0][key] for key in ("metrics", "intervals")}
        for name in tests
    }


def _train_splits(spec: TestSetSpec, folder: Path) -> list[LabeledFolder]:
    """The training split, and the validation split if the test set has one."""
    names = ["train", "validation"] if spec.validation else ["train"]
    return [LabeledFolder(spec, folder, name) for name in names]


def _check_disjoint(
    extractor: FeatureExtractor, test: LabeledFolder, splits: Sequence[LabeledFolder]
) -> None:
    """Raise `InputError` if most test images are byte-identical to training images; warn if some are."""
    train_hashes = np.concatenate([folder.content(extractor.cache).files for folder in splits])
    is_shared = np.isin(test.content(extractor.cache).files, train_hashes)
    shared = list(compress(test.names, is_shared))
    message = (
        f"{test.root}: {len(shared)} of {len(test)} test images are also training images "
        f"({abbreviated(shared)})"
    )
    if 2 * len(shared) > len(test):
        raise InputError(f"{message}; correct the folder of the training images in {splits[0].spec.path}")
    if shared:
        print(f"warning: {message}", flush=True)


def _training_metadata(
    extractor: FeatureExtractor, test: LabeledFolder, splits: Sequence[LabeledFolder], settings: Settings
) -> dict[str, Any]:
    """Everything besides the checkpoint that the classifier depends on."""
    # A spec labels all its splits alike, and `dataset_metadata` has the labels of the test images.
    is_other_set = splits[0].spec.name != test.spec.name
    labels = {folder.split: json_sha256(folder.targets) for folder in splits} if is_other_set else {}
    return {
        "dataset": splits[0].spec.name,
        "sha256": {folder.split: folder.content_sha256(extractor.cache) for folder in splits},
        **({"labels_sha256": labels} if labels else {}),
        "validation": "its own" if len(splits) > 1 else f"{settings.val_fraction:g} of each class",
        "seed": settings.seed,
        "features": list(settings.features),
        "l2_strengths": list(settings.l2_strengths),
    }


def _train_and_validation(
    extractor: FeatureExtractor, splits: Sequence[LabeledFolder], settings: Settings
) -> tuple[list[tuple[ImageFeatures, Tensor]], Tensor, int]:
    """Parts of images, each with the indices to use, their labels, and the number of training images.

    The training images are first; without a validation split, validation images are drawn from them.
    """
    train, *validation = [extractor.image_features(folder) for folder in splits]
    if validation:
        parts = [(images, torch.arange(len(images.labels))) for images in (train, *validation)]
    else:
        mask = validation_mask(train.labels, settings.val_fraction, settings.seed)
        if not mask.any():
            raise InputError(
                f"{splits[0].root}: one image per class; the probe needs at least two, one of them for "
                "validation"
            )
        parts = [(train, torch.nonzero(selected)[:, 0]) for selected in (~mask, mask)]
    labels = torch.cat([images.labels[indices] for images, indices in parts])
    return parts, labels, len(parts[0][1])


def gather_rows(parts: Sequence[tuple[Tensor, Tensor, Callable[[], None]]], device: torch.device) -> Tensor:
    """Rows of tensors, as one tensor on `device`.

    Each part is a tensor, the indices of its rows, and a function that is called after each chunk of rows to
    release the memory of the tensor (those of the feature cache are mapped from its file). Nothing but the
    result and a chunk is in memory.
    """
    rows = sum(len(indices) for _, indices, _ in parts)
    result = torch.empty(rows, *parts[0][0].shape[1:], dtype=parts[0][0].dtype, device=device)
    start = 0
    for tensor, indices, release in parts:
        for chunk in indices.split(CHUNK_ROWS):
            result[start : start + len(chunk)] = tensor[chunk]
            start += len(chunk)
            release()
    return result


def validation_mask(labels: Tensor, val_fraction: float, seed: int) -> Tensor:
    """A stratified random split: the boolean mask (n,) of the validation images.

    `val_fraction` of each class, but at least one image of a class with two or more, and never all of them.
    """
    rng = np.random.default_rng(seed)
    mask = torch.zeros(len(labels), dtype=torch.bool)
    for label in labels.unique():
        members = torch.nonzero(labels == label)[:, 0]
        count = min(max(1, round(val_fraction * len(members))), len(members) - 1)
        mask[members[rng.permutation(len(members))[:count]]] = True
    return mask


def _features(images: ImageFeatures, kind: str) -> Tensor:
    features = images.after_projection if kind == "after_projection" else images.before_projection
    if features is None:
        raise InputError(
            "this image encoder has no features before a projection; remove before_projection from "
            "evaluate.linear_probe.features"
        )
    return features
