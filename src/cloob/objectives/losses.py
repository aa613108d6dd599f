"""The objectives of the CLOOB paper (arXiv 2110.11316): exact, with memory linear in the batch size.

    U_x = normalize(softmax(β x Uᵀ) U)                                     hopfield_retrieval
    InfoNCE  = − mean_i ln [ exp(x_i·y_i/τ) / Σ_j exp(x_i·y_j/τ) ]         info_nce
    InfoLOOB = − mean_i ln [ exp(x_i·y_i/τ) / Σ_{j≠i} exp(x_i·y_j/τ) ]     info_loob

`contrastive_loss` combines them, in the scale of the authors' code. The implementation rests on three facts:

1. Both losses are functions of the margin m_i = ln Σ_{j≠i} exp(x_i·y_j/τ) − x_i·y_i/τ (`margins`): InfoLOOB
   is the mean of m_i and InfoNCE the mean of ln(1 + exp m_i). InfoNCE's gradient is InfoLOOB's times
   sigmoid(m_i) = 1 − p_i, the factor that vanishes as training succeeds. (Paper, section on InfoLOOB and
   saturation.)
2. A retrieved pattern is normalized, which simplifies its backward pass (`hopfield`).
3. N×N matrices are computed tile by tile and discarded; the backward pass recomputes the scores (`fused`).
   One Gram matrix X Yᵀ serves two retrievals (V_x reads its rows, U_y its columns); of X Xᵀ and Y Yᵀ, half
   is enough.
"""

from collections.abc import Sequence

import torch.distributed as dist
from torch import Tensor

from cloob.objectives.fused import FusedHopfieldLoss, FusedLoss, OneSidedLoss
from cloob.objectives.gather import DistributedBatch
from cloob.objectives.hopfield import retrieve_pairs, retrieve_pairs_untiled
from cloob.objectives.margin_losses import MARGIN_LOSSES, MarginLoss
from cloob.objectives.registry import get_objective
from cloob.objectives.tiling import Scalar, as_scalar, full_precision, tile_size, without_autocast


@without_autocast
def contrastive_loss(
    image: Tensor,
    text: Tensor,
    *,
    objective: str,
    inv_temperature: Scalar,
    beta: Scalar | None = None,
    group: dist.ProcessGroup | None = None,
    row_counts: Sequence[int] | None = None,
    partial: bool = False,
) -> Tensor:
    """The loss of a batch of pairs, row i of `image` with row i of `text` (both (N, d), L2-normalized).

    Scale: the InfoNCE objectives are the mean of the image and the text loss, as in CLIP; the InfoLOOB
    objectives are τ times their sum, as in the authors' code (learning rates depend on it). The Hopfield
    objectives need `beta`. `inv_temperature` (1/τ) and `beta` may require grad. Half precision is computed in
    float32.

    With `group`, each rank passes its own rows, in any number, and computes its part of the loss. Every rank
    returns the loss of the global batch. Its backward pass, called on all ranks, gives each rank the exact
    gradient of its rows; for shared parameters (1/τ, β, weights) it gives partial gradients that sum to the
    total gradient over the ranks (DistributedDataParallel would average them). `row_counts` are the numbers
    of rows of all ranks; if they are not given, they are gathered, for which the host waits. With `partial`,
    every rank returns its own part of the loss, with the same gradient; the parts sum to the loss.

    Raises ValueError for an unknown objective, mismatched shapes or counts, and fewer than two pairs.
    """
    entry = get_objective(objective)
    if image.ndim != 2 or image.shape != text.shape:
        raise ValueError(f"image {tuple(image.shape)} and text {tuple(text.shape)} are not both (N, d)")
    if entry.hopfield and beta is None:
        raise ValueError(f"objective {objective!r} uses Hopfield retrieval and needs beta")
    x, y = full_precision(image), full_precision(text)
    batch = DistributedBatch(len(x), group, x.device, row_counts)
    _check_negatives(batch.global_size)
    loss, inv_temp = MARGIN_LOSSES[entry.loss], as_scalar(inv_temperature, x)
    beta_tensor = as_scalar(beta, x) if entry.hopfield else None
    if batch.is_single and not entry.hopfield:
        both = FusedLoss.apply(x, y, inv_temp, loss)
    elif batch.is_single and len(x) > 2 * tile_size(x):
        both = FusedHopfieldLoss.apply(x, y, inv_temp, beta_tensor, loss)
    else:
        if not entry.hopfield:
            (image_anchors, image_positives), (text_anchors, text_positives) = (x, y), (y, x)
        else:
            retrieve = (
                retrieve_pairs_untiled(x, y, beta_tensor)
                if batch.is_single
                else retrieve_pairs(x, y, *batch.gather(x, y), beta_tensor)
            )
            (image_anchors, image_positives), (text_anchors, text_positives) = retrieve
        all_image_positives, all_text_positives = batch.gather(image_positives, text_positives)
        image_loss = OneSidedLoss.apply(image_anchors, all_image_positives, inv_temp, loss, batch.offset)
        text_loss = OneSidedLoss.apply(text_anchors, all_text_positives, inv_temp, loss, batch.offset)
        both = image_loss + text_loss
    value = loss.combine(both, inv_temp)
    return value if partial else batch.sum(value)


def info_nce(anchors: Tensor, positives: Tensor, inv_temperature: Scalar) -> Tensor:
    """InfoNCE of anchors (N, d) and positives (N, d), row i with row i: a scalar, not multiplied by τ."""
    return _one_sided_loss(anchors, positives, inv_temperature, MARGIN_LOSSES["infonce"])


def info_loob(anchors: Tensor, positives: Tensor, inv_temperature: Scalar) -> Tensor:
    """InfoLOOB of anchors (N, d) and positives (N, d), row i with row i: a scalar, not multiplied by τ."""
    return _one_sided_loss(anchors, positives, inv_temperature, MARGIN_LOSSES["infoloob"])


@without_autocast
def _one_sided_loss(anchors: Tensor, positives: Tensor, inv_temperature: Scalar, loss: MarginLoss) -> Tensor:
    if anchors.ndim != 2 or anchors.shape != positives.shape:
        raise ValueError(
            f"anchors {tuple(anchors.shape)} and positives {tuple(positives.shape)} are not both (N, d)"
        )
    _check_negatives(len(anchors))
    anchors, positives = full_precision(anchors), full_precision(positives)
    return OneSidedLoss.apply(anchors, positives, as_scalar(inv_temperature, anchors), loss, 0)


def _check_negatives(pairs: int) -> None:
    if pairs < 2:
        raise ValueError(f"{pairs} pair(s): a contrastive loss needs at least 2 pairs to have a negative")
