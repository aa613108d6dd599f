"""Linear probe, CLIP's protocol: logistic regression on the frozen features of the images of a test set.

The L2 strength is the one of a sweep that does best on the validation images; with it the classifier is
fitted anew on training and validation images together, and judged on the test images. Features are taken as
they are, without normalization.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from cloob.common.errors import InputError
from cloob.evaluate.features.extractor import FeatureExtractor, ImageFeatures
from cloob.evaluate.probe.path import TOLERANCE, Fit, fit_path
from cloob.evaluate.protocols.result import about_checkpoint, about_testset, is_there, write_result
from cloob.evaluate.testsets.image_folder import LabeledFolder
from cloob.evaluate.testsets.leftovers import some
from cloob.evaluate.testsets.spec import Description
from cloob.metrics.accuracy import accuracies

KINDS = ("after_projection", "before_projection")
# Relative tolerance of the last fit. No prediction differed from scikit-learn's (benchmarks/README.md).
EXACT = 1e-14
Images = tuple[Tensor, Tensor]  # features (n, d) and labels (n,)


@dataclass(frozen=True)
class Settings:
    """How a probe is made: kinds of features, the sweep, and the validation images of a set without any."""

    features: tuple[str, ...]  # of KINDS
    l2_num: tuple[float, ...]
    val_fraction: float  # of the training images of each class
    seed: int


def l2_sweep(weakest: float, strongest: float, count: int) -> tuple[float, ...]:
    """So many strengths from the weakest to the strongest, evenly in their logarithm."""
    return tuple(float(f"{each:.6g}") for each in np.geomspace(weakest, strongest, count))


def evaluate_linear_probe(
    extractor: FeatureExtractor,
    testsets: Sequence[tuple[Description, Path]],
    training: Mapping[str, str],
    settings: Settings,
    out_dir: Path,
) -> None:
    """Probe the test sets (descriptions with their folders) and write `out_dir`/<dataset>.json for each.

    `training` gives the test set whose training images are taken, by the name of the set, where that is
    another one (ImageNetV2 is ImageNet's test). All sets are checked before the first is computed; a file
    that is there of the same checkpoint, data and settings is left as it is. Raises `InputError`.
    """
    known = {description.name: (description, folder) for description, folder in testsets}
    for name in {*training, *training.values()} - set(known):
        raise InputError(f"--training: there is no test set {name}; give it with --testset")
    tested = {name: LabeledFolder(*each) for name, each in known.items()}
    trained_on = {name: training.get(name, name) for name in known}
    splits = {name: _splits(*known[name]) for name in sorted(set(trained_on.values()))}
    for name, other in trained_on.items():
        if tested[name].class_names != tested[other].class_names:
            raise InputError(
                f"{known[name][0].path}: its classes are not those of {other}; mend --probe-train-set"
            )
    of_checkpoint = about_checkpoint(extractor, "linear_probe")
    for other, of_training in splits.items():
        results = {}
        for name in (each for each in known if trained_on[each] == other):
            _check_apart(extractor, tested[name], of_training)
            about = (
                of_checkpoint
                | about_testset(extractor, tested[name])
                | _about(extractor, of_training, settings)
            )
            if not is_there(out_dir / f"{name}.json", about):
                results[name] = about
        if not results:
            continue
        train, validation = _training_images(extractor, of_training, settings)
        tests = {name: extractor.of_images(tested[name]) for name in results}
        probes: dict[str, list[dict[str, Any]]] = {name: [] for name in results}
        for kind in settings.features:
            parts = [_of_kind(each, kind) for each in (train, validation, *tests.values())]
            places = [tuple(tensor.to(extractor.device) for tensor in part) for part in parts]
            title = f"{known[other][0].title}, {kind.replace('_', ' ')}"
            found = probe(places[0], places[1], len(tested[other].class_names), settings.l2_num, title)
            for name, images in zip(tests, places[2:], strict=True):
                probes[name].append({"features": kind} | found.on(*images))
        for name, about in results.items():
            counts = {"training_images": len(train.labels), "validation_images": len(validation.labels)}
            first = {key: probes[name][0][key] for key in ("metrics", "intervals")}
            write_result(out_dir / f"{name}.json", about | counts, {"probes": probes[name]} | first)


@dataclass(frozen=True)
class Probe:
    """A classifier fitted on training and validation images, and the sweep that chose its strength."""

    fit: Fit
    sweep: list[dict[str, float]]  # strength and accuracy on the validation images, weakest first
    converged: bool  # all fits of the sweep, and the last
    absent: int  # classes without an image to train on: never predicted

    def on(self, features: Tensor, labels: Tensor) -> dict[str, Any]:
        """What a result file tells of it, judged on images (n, d) with their labels (n,)."""
        measured = accuracies(self.fit.logits(features).cpu(), labels.cpu())
        return {
            "l2_strength": self.fit.l2_strength,
            "sweep": self.sweep,
            "converged": self.converged,
            "classes_without_training_images": self.absent,
            "metrics": measured["metrics"],
            "intervals": measured["intervals"],
        }


def probe(train: Images, validation: Images, classes: int, l2_num: Sequence[float], title: str) -> Probe:
    """Sweep the strengths on `validation`, and refit on both with the best; of equally good the strongest.

    Raises `InputError` where fewer than two classes have training images.
    """
    for images in (train, validation):
        if not torch.isfinite(images[0]).all():
            raise InputError(f"{title}: features that are not finite; training diverged")
    fits = tqdm(_fits(train, classes, l2_num, title), total=len(set(l2_num)), desc=title, unit="strength")
    best, best_right, sweep, converged = None, -1, [], True
    for fit in fits:  # the strongest first
        right = int((fit.logits(validation[0]).argmax(dim=1) == validation[1]).sum())
        sweep.append({"l2_strength": fit.l2_strength, "accuracy": right / len(validation[1])})
        converged &= fit.converged
        if right > best_right:
            best, best_right = fit, right
    assert best is not None
    both = (torch.cat([train[0], validation[0]]), torch.cat([train[1], validation[1]]))
    [refitted] = _fits(both, classes, [best.l2_strength], title, best)
    converged &= refitted.converged
    # Single predictions turn on the last digits of this fit, and scikit-learn's optimum is to give the same.
    [exact] = _fits(both, classes, [best.l2_strength], title, refitted, EXACT, torch.float64)
    if not converged:
        print(f"warning: {title}: not all fits reached their optimum; {len(both[1])} images", flush=True)
    absent = classes - len(both[1].unique())
    return Probe(exact, sweep[::-1], converged, absent)


def _fits(
    images: Images,
    classes: int,
    l2_num: Sequence[float],
    title: str,
    start: Fit | None = None,
    tolerance: float = TOLERANCE,
    precision: torch.dtype | None = None,
) -> Iterator[Fit]:
    """`fit_path`, where classes may have no image: their bias is −∞, so that no image is taken for one."""
    features, labels = images
    present, compact = labels.unique(return_inverse=True)
    if len(present) < 2:
        raise InputError(f"{title}: training images of {len(present)} class; a probe wants two or more")
    if start is not None:
        known = start.bias[present].isfinite().all()
        start = replace(start, weights=start.weights[:, present], bias=start.bias[present]) if known else None
    for fit in fit_path(features, compact, l2_num, start, tolerance, precision=precision):
        yield fit.among(present, classes)


def _splits(description: Description, folder: Path) -> list[LabeledFolder]:
    """The training images, and the validation images where the set comes with some."""
    names = ["train", "validation"] if description.validation else ["train"]
    return [LabeledFolder(description, folder, name) for name in names]


def _check_apart(extractor: FeatureExtractor, test: LabeledFolder, training: Sequence[LabeledFolder]) -> None:
    """Raises `InputError` where most test images are trained on too, byte by byte; warns where a few are."""
    learned = {each for folder in training for each in folder.content(extractor.cache).of_files}
    hashes = test.content(extractor.cache).of_files
    shared = [name for name, each in zip(test.names, hashes, strict=True) if each in learned]
    found = (
        f"{test.root}: {len(shared)} of {len(hashes)} test images are training images too ({some(shared)})"
    )
    if 2 * len(shared) > len(hashes):
        raise InputError(
            f"{found}; name another folder of training images, in {training[0].description.path}"
        )
    if shared:
        print(f"warning: {found}", flush=True)


def _about(
    extractor: FeatureExtractor, splits: Sequence[LabeledFolder], settings: Settings
) -> dict[str, Any]:
    """What the classifier depends on beside the checkpoint: its images, and how it is chosen."""
    return {
        "training": {
            "dataset": splits[0].description.name,
            "sha256": {folder.split: folder.content_sha256(extractor.cache) for folder in splits},
            "validation": "its own" if len(splits) > 1 else f"{settings.val_fraction:g} of each class",
            "seed": settings.seed,
            "features": list(settings.features),
            "l2_num": list(settings.l2_num),
        }
    }


def _training_images(
    extractor: FeatureExtractor, splits: Sequence[LabeledFolder], settings: Settings
) -> tuple[ImageFeatures, ImageFeatures]:
    train, *own = [extractor.of_images(folder) for folder in splits]
    if own:
        return train, own[0]
    chosen = validation_images(train.labels, settings.val_fraction, settings.seed)
    if not chosen.any():
        raise InputError(
            f"{splits[0].root}: one image of each class; the sweep wants two, to validate with one of them"
        )
    return _taken(train, ~chosen), _taken(train, chosen)


def _taken(images: ImageFeatures, chosen: Tensor) -> ImageFeatures:
    return ImageFeatures(
        None if images.before_projection is None else images.before_projection[chosen],
        images.after_projection[chosen],
        images.labels[chosen],
        [name for name, taken in zip(images.names, chosen.tolist(), strict=True) if taken],
        images.title,
    )


def validation_images(labels: Tensor, share: float, seed: int) -> Tensor:
    """Which images (n,) validate: `share` of each class, one at least of two or more, and never all."""
    random = np.random.default_rng(seed)
    chosen = torch.zeros(len(labels), dtype=torch.bool)
    for label in labels.unique():
        members = torch.nonzero(labels == label)[:, 0]
        count = min(max(1, round(share * len(members))), len(members) - 1)
        chosen[members[random.permutation(len(members))[:count]]] = True
    return chosen


def _of_kind(images: ImageFeatures, kind: str) -> Images:
    features = images.after_projection if kind == "after_projection" else images.before_projection
    if features is None:
        raise InputError(
            "this image encoder has no features before a projection; leave before_projection out of "
            "evaluate.linear_probe.features"
        )
    return features, images.labels
