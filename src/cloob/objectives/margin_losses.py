"""Contrastive losses as functions of the margin m_i = ln Σ_{j≠i} exp(x_i·y_j/τ) − x_i·y_i/τ of each pair.

Every loss in which a pair is compared with its negatives through the softmax is a function ℓ(m_i), and all
that the backward pass needs is its derivative: ∂ℓ/∂x_i = ℓ'(m_i) ∂m_i/∂x_i.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor


@dataclass(frozen=True)
class MarginLoss:
    """A loss of margins and its scale."""

    value_and_slope: Callable[[Tensor], tuple[Tensor, Tensor]]
    """Margins m (…) -> ℓ(m) and ℓ'(m), both (…)."""
    combine: Callable[[Tensor, Tensor], Tensor]
    """(mean over images + mean over texts, 1/τ) -> the loss of the batch."""


def _infonce(margins: Tensor) -> tuple[Tensor, Tensor]:
    """ℓ(m) = ln(1 + eᵐ), with the slope sigmoid(m) = 1 − p, which vanishes as training succeeds."""
    return F.softplus(margins), torch.sigmoid(margins)


def _infoloob(margins: Tensor) -> tuple[Tensor, Tensor]:
    """ℓ(m) = m: the positive is left out of the denominator, and the slope stays 1."""
    return margins, torch.ones_like(margins)


MARGIN_LOSSES = {
    # As in CLIP: the mean of both directions.
    "infonce": MarginLoss(_infonce, combine=lambda both_directions, inv_temp: both_directions / 2),
    # As in the authors' code: τ times the sum of both directions; learning rates depend on this scale.
    "infoloob": MarginLoss(_infoloob, combine=lambda both_directions, inv_temp: both_directions / inv_temp),
}
