"""Embedding structure: spectrum, uniformity, alignment, modality gap and similarities of image-text pairs.

Computed in float64 and tile by tile: no N×N matrix is stored.
"""

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from cloob.common.errors import InputError
from cloob.objectives.tiling import tile_size, tiles

EXPLAINED_VARIANCE = 0.99  # fraction of the total variance that the effective eigenvalues explain
BINS = 200  # of the histograms of similarities in [-1, 1]


def embedding_structure(image: Tensor, text: Tensor, image_of_text: Tensor) -> dict[str, Any]:
    """`metrics`, `spectrum` (image, text) and `similarities` of captioned images.

    `image` is (M, d), `text` (N, d), `image_of_text` (N,) the image index of each caption.

    The spectrum holds the eigenvalues of the covariance (divided by N - 1) in descending order.
    `effective_eigenvalues` is the smallest k whose largest k eigenvalues sum to at least 99% of all (paper,
    appendix on the covariance). `ajne` is Ajne's statistic (see `ajne`), `alignment` the mean squared
    distance between image and caption, and `uniformity` the logarithm of the mean of exp(-2 ‖x_i - x_j‖²)
    over all i < j (Wang & Isola 2020; lower is better aligned and more uniform). `modality_gap` is the
    distance between the mean image and the mean text embedding. The similarities are histograms of the cosine
    similarities of `matched` image-caption pairs and of all others (`unmatched`), with bin `edges`. Raises
    `InputError` for fewer than two images.
    """
    if len(image) < 2:
        raise InputError(f"{len(image)} image(s): the embedding structure needs at least 2")
    image, text = (torch.nn.functional.normalize(rows.double(), dim=1) for rows in (image, text))
    matched = (image[image_of_text] * text).sum(dim=1)
    metrics: dict[str, float] = {}
    spectrum = {}
    for name, rows in (("image", image), ("text", text)):
        eigenvalues = covariance_eigenvalues(rows)
        spectrum[name] = eigenvalues.tolist()
        metrics[f"effective_eigenvalues_{name}"] = effective_eigenvalues(eigenvalues)
        metrics[f"ajne_{name}"] = ajne(rows)
        metrics[f"uniformity_{name}"] = uniformity(rows)
    metrics["alignment"] = float((2 - 2 * matched).mean())
    metrics["modality_gap"] = float(torch.linalg.vector_norm(image.mean(dim=0) - text.mean(dim=0)))
    return {
        "metrics": metrics,
        "spectrum": spectrum,
        "similarities": _similarity_histograms(image, text, image_of_text, matched),
    }


def covariance_eigenvalues(rows: Tensor) -> Tensor:
    """Eigenvalues (d,) of the covariance of rows (N, d), descending, clamped at 0."""
    return torch.linalg.eigvalsh(torch.cov(rows.T)).clamp_min(0).flip(0)


def effective_eigenvalues(eigenvalues: Tensor) -> int:
    """The smallest k >= 1 whose largest k eigenvalues (descending) sum to at least 99% of all."""
    sums = eigenvalues.cumsum(0)
    return min(1 + int((sums < EXPLAINED_VARIANCE * sums[-1]).sum()), len(sums))


def ajne(rows: Tensor) -> float:
    """Ajne's statistic, extended by Prentice to the hypersphere; higher is less uniform.

    A = N/4 - (1/(πN)) Σ_{i<j} arccos(x_i·x_j), with unit vectors x (N, d).
    """
    angles = _sum_over_pairs(rows, lambda cosines: cosines.clamp_(-1, 1).arccos_())
    return len(rows) / 4 - angles / (math.pi * len(rows))


def uniformity(rows: Tensor) -> float:
    """Log of the mean over i < j of exp(-2 ‖x_i - x_j‖²) (Wang & Isola 2020), with unit vectors x (N, d)."""
    pairs = len(rows) * (len(rows) - 1) / 2
    return math.log(_sum_over_pairs(rows, lambda cosines: cosines.mul_(4).sub_(4).exp_()) / pairs)


def _sum_over_pairs(rows: Tensor, function: Callable[[Tensor], Tensor]) -> float:
    """Σ_{i<j} function(x_i·x_j); `function` may change the tile of cosines in place."""
    total = rows.new_zeros(())
    for a, b, (cosines,) in tiles(rows, rows, tile_size(rows), buffers=1, upper=True):
        values = function(torch.mm(rows[a], rows[b].T, out=cosines))
        total += values.triu(diagonal=1).sum() if a == b else values.sum()
    return float(total)


def _similarity_histograms(
    image: Tensor, text: Tensor, image_of_text: Tensor, matched: Tensor
) -> dict[str, Any]:
    def histogram(cosines: Tensor) -> Tensor:
        return torch.histc(cosines.clamp(-1, 1), bins=BINS, min=-1, max=1).long()

    unmatched = torch.zeros(BINS, dtype=torch.int64, device=image.device)
    for a, b, (cosines,) in tiles(image, text, tile_size(image), buffers=1):
        torch.mm(image[a], text[b].T, out=cosines)
        image_indices = torch.arange(a.start, a.stop, device=image.device)
        unmatched += histogram(cosines[image_indices[:, None] != image_of_text[b]])
    return {
        "edges": [(2 * index - BINS) / BINS for index in range(BINS + 1)],
        "matched": histogram(matched).tolist(),
        "unmatched": unmatched.tolist(),
    }
