"""Contrastive losses as functions ℓ(m_i) of the margin of each pair (`cloob.objectives.margins`).

All that the backward pass needs of a loss is its derivative: ∂ℓ/∂a_i = ℓ'(m_i) ∂m_i/∂a_i.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor


@dataclass(frozen=True)
class MarginLoss:
    """A loss of margins, and how its two directions combine."""

    value_and_slope: Callable[[Tensor], tuple[Tensor, Tensor]]
    """Margins m of any shape -> ℓ(m) and ℓ'(m), of the same shape."""
    combine: Callable[[Tensor, Tensor], Tensor]
    """(image loss + text loss, 1/τ) -> the loss of the batch."""


def _infonce(margins: Tensor) -> tuple[Tensor, Tensor]:
    """ℓ(m) = ln(1 + eᵐ); its slope sigmoid(m) = 1 − p vanishes as training succeeds (saturation)."""
    return F.softplus(margins), torch.sigmoid(margins)


def _infoloob(margins: Tensor) -> tuple[Tensor, Tensor]:
    """ℓ(m) = m, because the positive is left out of the denominator; its slope stays 1."""
    return margins, torch.ones_like(margins)


MARGIN_LOSSES = {
    # As in CLIP: the mean of both directions.
    "infonce": MarginLoss(_infonce, combine=lambda both, inv_temp: both / 2),
    # As in the authors' code: τ times the sum of both directions. Learning rates depend on this scale.
    "infoloob": MarginLoss(_infoloob, combine=lambda both, inv_temp: both / inv_temp),
}
