"""Saturation: how far InfoNCE's gradient factor 1 − p_i has vanished."""

import torch
from torch import Tensor

from cloob.objectives.hopfield import retrieve_pairs
from cloob.objectives.margin_losses import MARGIN_LOSSES
from cloob.objectives.margins import margins
from cloob.objectives.registry import get_objective
from cloob.objectives.tiling import Scalar, full_precision, without_autocast


@torch.no_grad()
@without_autocast
def saturation(
    image: Tensor, text: Tensor, objective: str, inv_temperature: Scalar, beta: Scalar | None
) -> Tensor:
    """Mean of InfoNCE's gradient factor 1 − p_i over the pairs of a batch and over both directions.

        p_i = exp(a_i·b_i/τ) / Σ_j exp(a_i·b_j/τ)        1 − p_i = sigmoid(m_i), m_i the margin

    image, text: (N, d), L2-normalized -> a scalar: near 1 before anything is learned, near 0 when InfoNCE is
    saturated. (a, b) are the vectors that the objective compares: the embeddings, or after Hopfield retrieval
    U_x with U_y and V_y with V_x. The gradient of InfoLOOB has no such factor; for the InfoLOOB objectives,
    this is the factor that InfoNCE would have. Computed from the margin, it is exact even where p_i is
    almost 1.
    """
    pairs = (image, text), (text, image)
    if get_objective(objective).hopfield:
        if beta is None:
            raise ValueError(f"objective {objective!r} uses Hopfield retrieval and needs beta")
        pairs = retrieve_pairs(image, text, image, text, beta)
    factors = []
    for anchors, positives in pairs:
        pair_margins = margins(full_precision(anchors), full_precision(positives), inv_temperature)
        _, slopes = MARGIN_LOSSES["infonce"].value_and_slope(pair_margins)
        factors.append(slopes)
    return torch.cat(factors).mean()
