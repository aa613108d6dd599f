"""Accuracies of a classifier, and how far chance in the choice of the test images moves them."""

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

RESAMPLES, SEED = 2000, 0
_ROWS = 4096  # of logits looked at at once


def ranks_of_labels(logits: Tensor, labels: Tensor) -> Tensor:
    """How many classes stand before the right one, (N,) int64; of equal logits the first class wins.

    `logits` is (N, classes), `labels` (N,). What is no number stands before the right class, never behind it.
    """
    ranks = []
    before = torch.arange(logits.shape[1]) < labels[:, None]  # (N, classes)
    for start in range(0, len(labels), _ROWS):
        rows = slice(start, start + _ROWS)
        own = logits[rows].gather(1, labels[rows, None])
        ranks.append((~(logits[rows] <= own) | ((logits[rows] == own) & before[rows])).sum(dim=1))
    return torch.cat(ranks)


def accuracies(logits: Tensor, labels: Tensor) -> dict[str, Any]:
    """`metrics`, `intervals` and right answers by class (`images`, `right`: lists) of a classifier.

    The metrics are fractions: `accuracy`, `accuracy_top5` (among the best five; None up to five classes), and
    `mean_per_class_accuracy` over the classes that have images. `logits` is (N, classes), `labels` (N,).

    The intervals are 95 % percentile intervals of the bootstrap: the test set is drawn anew `RESAMPLES`
    times, N images with replacement, and each metric taken of each. (An image counts by its class and whether
    it is right, right among five or wrong; so the numbers of these are drawn, multinomially, which is the
    same distribution.) A class of which a resample holds no image is left out of that resample's mean.
    """
    classes = logits.shape[1]
    ranks = ranks_of_labels(logits, labels)
    kind = 1 * (ranks >= 1) + 1 * (ranks >= 5)  # 0 right, 1 right among five, 2 wrong
    cells = torch.bincount(labels * 3 + kind, minlength=3 * classes).numpy()
    found = _metrics(cells[None].reshape(1, classes, 3))
    drawn = np.random.default_rng(SEED).multinomial(len(labels), cells / len(labels), RESAMPLES)
    spread = _metrics(drawn.reshape(RESAMPLES, classes, 3))
    counts = cells.reshape(classes, 3)
    return {
        "metrics": {name: None if values is None else float(values[0]) for name, values in found.items()},
        "intervals": {
            name: [float(bound) for bound in np.percentile(values, (2.5, 97.5))]
            for name, values in spread.items()
            if values is not None
        },
        "images": counts.sum(axis=1).tolist(),
        "right": counts[:, 0].tolist(),
    }


def _metrics(counts: NDArray[np.int64]) -> dict[str, NDArray[np.float64] | None]:
    """Numbers (R, classes, 3) of right, right among five and wrong images -> each metric (R,)."""
    images, right = counts.sum(axis=2), counts[:, :, 0]
    total = images.sum(axis=1)
    filled = images > 0
    share = right / np.maximum(images, 1)  # 0 where there are none
    return {
        "accuracy": right.sum(axis=1) / total,
        "accuracy_top5": counts[:, :, :2].sum(axis=(1, 2)) / total if counts.shape[1] > 5 else None,
        "mean_per_class_accuracy": share.sum(axis=1) / filled.sum(axis=1),
    }
