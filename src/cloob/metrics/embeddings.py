"""How embeddings fill their sphere: spectrum, uniformity, alignment, and what matched pairs have in common.

All in float64 and in tiles: nothing of size N×N is held.
"""

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from cloob.common.errors import InputError
from cloob.objectives.tiling import tile_edge, tiles

EXPLAINED = 0.99  # of the variance, by the effective eigenvalues
BINS = 200  # of similarities from -1 to 1


def embedding_structure(image: Tensor, text: Tensor, image_of_text: Tensor) -> dict[str, Any]:
    """`metrics`, `spectrum` (image, text) and `similarities` of the embeddings of captioned images.

    image (M, d) and text (N, d) are normalized; `image_of_text` (N,) is the index of each caption's image.

    The spectrum is that of the covariance (divided by N - 1), eigenvalues in descending order.
    `effective_eigenvalues` is the smallest k whose largest k eigenvalues sum to at least 99 % of all (paper,
    appendix on the covariance); `ajne` see `ajne`; `alignment` the mean squared distance of image and caption
    and `uniformity` the logarithm of the mean of exp(-2 ‖x_i - x_j‖²) over all i < j (Wang & Isola 2020: the
    lower, the better aligned and the more uniform); `modality_gap` the distance between the centers of images
    and captions. The similarities are histograms of the cosines of `matched` (image, caption) and of all
    others, between `edges`. Raises `InputError` for fewer than two images.
    """
    if len(image) < 2:
        raise InputError(f"{len(image)} image: the structure of embeddings wants two at least")
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
        "similarities": _similarities(image, text, image_of_text, matched),
    }


def covariance_eigenvalues(rows: Tensor) -> Tensor:
    """Eigenvalues (d,) of the covariance of rows (N, d), descending, not negative."""
    return torch.linalg.eigvalsh(torch.cov(rows.T)).clamp_min(0).flip(0)


def effective_eigenvalues(eigenvalues: Tensor) -> int:
    """The smallest k >= 1 whose largest k eigenvalues (descending) sum to at least 99 % of all."""
    sums = eigenvalues.cumsum(0)
    return min(1 + int((sums < EXPLAINED * sums[-1]).sum()), len(sums))


def ajne(rows: Tensor) -> float:
    """Ajne's statistic as extended by Prentice to the hypersphere; the higher, the less uniform.

    A = N/4 - (1/(πN)) Σ_{i<j} arccos(x_i·x_j), with x (N, d) of length 1.
    """
    angles = _sum_over_pairs(rows, lambda cosines: cosines.clamp_(-1, 1).arccos_())
    return len(rows) / 4 - angles / (math.pi * len(rows))


def uniformity(rows: Tensor) -> float:
    """Log of the mean over i < j of exp(-2 ‖x_i - x_j‖²) (Wang & Isola 2020), with x (N, d) of length 1."""
    pairs = len(rows) * (len(rows) - 1) / 2
    return math.log(_sum_over_pairs(rows, lambda cosines: cosines.mul_(4).sub_(4).exp_()) / pairs)


def _sum_over_pairs(rows: Tensor, value: Callable[[Tensor], Tensor]) -> float:
    """Σ_{i<j} value(x_i·x_j); `value` may change the tile of cosines that it is given."""
    total = rows.new_zeros(())
    for a, b, (cosines,) in tiles(rows, rows, tile_edge(rows), buffers=1, upper=True):
        values = value(torch.mm(rows[a], rows[b].T, out=cosines))
        total += values.triu(diagonal=1).sum() if a == b else values.sum()
    return float(total)


def _similarities(image: Tensor, text: Tensor, image_of_text: Tensor, matched: Tensor) -> dict[str, Any]:
    def histogram(cosines: Tensor) -> Tensor:
        return torch.histc(cosines.clamp(-1, 1), bins=BINS, min=-1, max=1).long()

    unmatched = torch.zeros(BINS, dtype=torch.int64, device=image.device)
    for a, b, (cosines,) in tiles(image, text, tile_edge(image), buffers=1):
        torch.mm(image[a], text[b].T, out=cosines)
        numbers = torch.arange(a.start, a.stop, device=image.device)
        unmatched += histogram(cosines[numbers[:, None] != image_of_text[b]])
    return {
        "edges": [(2 * each - BINS) / BINS for each in range(BINS + 1)],
        "matched": histogram(matched).tolist(),
        "unmatched": unmatched.tolist(),
    }
