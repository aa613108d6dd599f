"""The margin of a pair: every softmax-based contrastive loss is a function of the margins.

    m_i = ln Σ_{j≠i} exp(a_i·b_j/τ) − a_i·b_i/τ        anchors a, positives b

With q_ij the softmax over j≠i and q_ii = −1, its gradient is ∂m_i/∂a_i = Σ_j q_ij b_j / τ.
"""

import torch
from torch import Tensor

from cloob.objectives.tiling import Scalar, row_blocks, tile_size


def strip_margins(
    anchors: Tensor, positives: Tensor, inv_temp: Scalar, offset: int, buffer: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """The margins of a strip of anchors (n, d), whose row i matches row `offset` + i of positives (N, d).

    Returns the margins (n,), the unnormalized softmax over the negatives (n, N), 0 where j = i, and its row
    sums (n,). The softmax overwrites `buffer` (n, N).
    """
    logits = torch.mm(anchors, positives.T, out=buffer).mul_(inv_temp)
    matched = logits.diagonal(offset)
    positive_logits = matched.clone()
    matched.fill_(-torch.inf)
    maximum = logits.amax(dim=1)
    weights = logits.sub_(maximum[:, None]).exp_()
    weight_sum = weights.sum(dim=1)
    return weight_sum.log() + maximum - positive_logits, weights, weight_sum


def strip_buffer(anchors: Tensor, positives: Tensor) -> Tensor:
    """Scratch memory for the largest strip of anchors (n, d) and positives (N, d)."""
    return anchors.new_empty(min(tile_size(anchors), len(anchors)), len(positives))


@torch.no_grad()
def margins(anchors: Tensor, positives: Tensor, inv_temp: Scalar) -> Tensor:
    """The margins (N,) of anchors and positives (N, d), row i with row i; without gradient."""
    buffer = strip_buffer(anchors, positives)
    values = [
        strip_margins(anchors[rows], positives, inv_temp, rows.start, buffer[: rows.stop - rows.start])[0]
        for rows in row_blocks(anchors, tile_size(anchors))
    ]
    return torch.cat(values)
