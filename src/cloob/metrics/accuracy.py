"""Accuracies of a classifier, with bootstrap confidence intervals over the test images."""

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

RESAMPLES, SEED = 2000, 0
_ROWS = 4096  # logits compared at a time


def label_ranks(logits: Tensor, labels: Tensor) -> Tensor:
    """The number of classes ranked before the true class, (N,) int64; ties go to the lower class index.

    `logits` is (N, classes), `labels` (N,). NaN logits rank before the true class; if its own logit is NaN,
    it ranks last.
    """
    ranks = []
    lower_index = torch.arange(logits.shape[1]) < labels[:, None]  # (N, classes)
    for start in range(0, len(labels), _ROWS):
        rows = slice(start, start + _ROWS)
        label_logits = logits[rows].gather(1, labels[rows, None])
        tied_before = (logits[rows] == label_logits) & lower_index[rows]
        ranks.append((~(logits[rows] <= label_logits) | tied_before).sum(dim=1))
    return torch.cat(ranks)


def accuracies(logits: Tensor, labels: Tensor) -> dict[str, Any]:
    """`metrics`, `intervals` and per-class counts (`images`, `right`: lists) of a classifier.

    The metrics are fractions: `accuracy`, `accuracy_top5` (None for at most five classes), and
    `mean_per_class_accuracy` over the classes that have images. `logits` is (N, classes), `labels` (N,).

    The intervals are 95% percentile intervals of the bootstrap: N images are drawn from the test set with
    replacement, `RESAMPLES` times. (An image is counted by its class and by whether its label is ranked
    first, within the top 5, or below; so the counts are drawn from a multinomial distribution, which is
    equivalent.) The mean over classes of a resample leaves out the classes without images in it.
    """
    classes = logits.shape[1]
    ranks = label_ranks(logits, labels)
    category = 1 * (ranks >= 1) + 1 * (ranks >= 5)  # 0: ranked first, 1: in the top 5, 2: below
    cells = torch.bincount(labels * 3 + category, minlength=3 * classes).numpy()
    measured = _metrics(cells[None].reshape(1, classes, 3))
    resampled_cells = np.random.default_rng(SEED).multinomial(len(labels), cells / len(labels), RESAMPLES)
    resampled = _metrics(resampled_cells.reshape(RESAMPLES, classes, 3))
    counts = cells.reshape(classes, 3)
    # Without the empty classes, whose zeros change the order of the summation: with the rounding of
    # scikit-learn's `balanced_accuracy_score`.
    images = counts.sum(axis=1)
    measured["mean_per_class_accuracy"] = np.mean(counts[images > 0, 0] / images[images > 0], keepdims=True)
    return {
        "metrics": {name: None if value is None else float(value[0]) for name, value in measured.items()},
        "intervals": {
            name: [float(bound) for bound in np.percentile(values, (2.5, 97.5))]
            for name, values in resampled.items()
            if values is not None
        },
        "images": images.tolist(),
        "right": counts[:, 0].tolist(),
    }


def _metrics(counts: NDArray[np.int64]) -> dict[str, NDArray[np.float64] | None]:
    """Numbers of images (R, classes, 3) whose label is ranked first, in the top 5, below -> metrics (R,)."""
    images, correct = counts.sum(axis=2), counts[:, :, 0]
    total = images.sum(axis=1)
    classes_with_images = (images > 0).sum(axis=1)
    class_accuracy = correct / np.maximum(images, 1)  # 0 for a class without images
    return {
        "accuracy": correct.sum(axis=1) / total,
        "accuracy_top5": counts[:, :, :2].sum(axis=(1, 2)) / total if counts.shape[1] > 5 else None,
        "mean_per_class_accuracy": class_accuracy.sum(axis=1) / classes_with_images,
    }
