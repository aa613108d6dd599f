"""Selection of the L2 strength on validation images, and the final fit of the linear probe."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor
from tqdm import tqdm

from cloob.common.errors import InputError
from cloob.evaluate.features.finite import count_non_finite_rows
from cloob.evaluate.probe.path import TOLERANCE, Fit, fit_path
from cloob.metrics.accuracy import accuracies

# Relative tolerance of the final fit: no prediction differs from scikit-learn's (benchmarks/README.md).
FINAL_TOLERANCE = 1e-14
Images = tuple[Tensor, Tensor]  # features (n, d) and labels (n,)


@dataclass(frozen=True)
class Probe:
    """A classifier fitted on training and validation images, and the sweep that selected its L2 strength."""

    fit: Fit
    sweep: list[dict[str, float]]  # L2 strength and validation accuracy, in increasing order of strength
    converged: bool  # all fits of the sweep and the final one
    absent_classes: int  # classes without training images, which are never predicted

    def evaluate(self, features: Tensor, labels: Tensor) -> dict[str, Any]:
        """The probe's entry in a result file, evaluated on features (n, d) with labels (n,)."""
        measured = accuracies(self.fit.logits(features).cpu(), labels.cpu())
        return {
            "l2_strength": self.fit.l2_strength,
            "sweep": self.sweep,
            "converged": self.converged,
            "classes_without_training_images": self.absent_classes,
            "metrics": measured["metrics"],
            "intervals": measured["intervals"],
        }


def fit_probe(
    images: Images, num_train: int, classes: int, l2_strengths: Sequence[float], title: str
) -> Probe:
    """Select the L2 strength with the best validation accuracy and refit on all `images`.

    The first `num_train` images are training images, the others validation images. Ties are resolved in
    favor of the strongest regularization. Raises `InputError` if features are not finite or fewer than two
    classes have training images.
    """
    if count_non_finite_rows(images[0]):
        raise InputError(f"{title}: features are not finite; training diverged")
    # Slices, not copies: ImageNet's features of one kind take 10 GB.
    train = images[0][:num_train], images[1][:num_train]
    validation = images[0][num_train:], images[1][num_train:]
    fits = tqdm(
        _fit_present_classes(train, classes, l2_strengths, title),
        total=len(set(l2_strengths)),
        desc=title,
        unit="strength",
    )
    best, best_correct, sweep, converged = None, -1, [], True
    for fit in fits:  # strongest first
        correct = int((fit.predictions(validation[0]) == validation[1]).sum())
        sweep.append({"l2_strength": fit.l2_strength, "accuracy": correct / len(validation[1])})
        converged &= fit.converged
        if correct > best_correct:
            best, best_correct = fit, correct
    assert best is not None
    [refit] = _fit_present_classes(images, classes, [best.l2_strength], title, best)
    converged &= refit.converged
    # Individual predictions depend on the last digits of the final fit, and must equal scikit-learn's.
    [final] = _fit_present_classes(
        images, classes, [best.l2_strength], title, refit, FINAL_TOLERANCE, torch.float64
    )
    if not converged:
        print(f"warning: {title}: not all fits converged; {len(images[1])} images", flush=True)
    absent_classes = classes - len(images[1].unique())
    return Probe(final, sweep[::-1], converged, absent_classes)


def _fit_present_classes(
    images: Images,
    classes: int,
    l2_strengths: Sequence[float],
    title: str,
    start: Fit | None = None,
    tolerance: float = TOLERANCE,
    precision: torch.dtype | None = None,
) -> Iterator[Fit]:
    """`fit_path`, allowing classes without images: their bias is −∞, so that they are never predicted."""
    features, labels = images
    present, compact = labels.unique(return_inverse=True)
    if len(present) < 2:
        raise InputError(
            f"{title}: training images of {len(present)} class; a probe needs at least two classes"
        )
    if start is not None:
        is_compatible = start.bias[present].isfinite().all()
        start = (
            replace(start, weights=start.weights[:, present], bias=start.bias[present])
            if is_compatible
            else None
        )
    for fit in fit_path(features, compact, l2_strengths, start, tolerance, precision=precision):
        yield fit.expand_classes(present, classes)
