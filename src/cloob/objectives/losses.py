"""The objectives of the CLOOB paper (arXiv 2110.11316): exact, in memory linear in the batch.

    U_x = softmax(β x Uᵀ) U, normalized again                              hopfield_retrieval
    InfoNCE  = − mean_i ln [ exp(x_i·y_i/τ) / Σ_j exp(x_i·y_j/τ) ]         info_nce
    InfoLOOB = − mean_i ln [ exp(x_i·y_i/τ) / Σ_{j≠i} exp(x_i·y_j/τ) ]     info_loob

`contrastive_loss` puts them together, in the scale of the authors' code. Three facts carry the rest:

1. Both losses are functions of one number per pair, the margin m_i = ln Σ_{j≠i} exp(x_i·y_j/τ) − x_i·y_i/τ:
   InfoLOOB is its mean and InfoNCE the mean of ln(1 + exp m_i). With q_ij the softmax over j≠i, q_ii = −1,
   ∂m_i/∂x_i = Σ_j q_ij y_j / τ. InfoNCE's gradient is this times sigmoid(m_i) = 1 − p_i, the factor that
   dies as training succeeds; InfoLOOB's has no such factor. (Paper, section on InfoLOOB and saturation.)
2. A retrieved pattern is normalized, so its backward pass needs little (`cloob.objectives.hopfield`).
3. Whatever is N×N is made tile by tile and dropped; scores are made again in the backward pass. One Gram
   matrix X Yᵀ serves two retrievals (V_x reads its rows, U_y its columns), of X Xᵀ and Y Yᵀ half is enough.
"""

import torch
import torch.distributed as dist
from torch import Tensor
from torch.autograd.function import once_differentiable

from cloob.objectives.gather import Ranks
from cloob.objectives.hopfield import (
    RunningSum,
    hopfield_retrieval,
    retrieve,
    retrieve_backward,
    retrieve_small_batch,
    tangent,
)
from cloob.objectives.margin_losses import MARGIN_LOSSES, MarginLoss
from cloob.objectives.registry import get_objective
from cloob.objectives.tiling import (
    LOGITS_TILE,
    Scalar,
    blocks,
    full_precision,
    scalar,
    tile_edge,
    tiles,
    without_autocast,
)


@without_autocast
def contrastive_loss(
    image: Tensor,
    text: Tensor,
    *,
    objective: str,
    inv_temperature: Scalar,
    beta: Scalar | None = None,
    group: dist.ProcessGroup | None = None,
) -> Tensor:
    """The loss of a batch of pairs, row i of `image` with row i of `text` (both N×d, L2-normalized).

    Scale: the InfoNCE objectives are the mean of the image and the text term, as in CLIP; the InfoLOOB
    objectives are τ times their sum, as in the authors' code (learning rates depend on it). The Hopfield
    objectives need `beta`; the temperature and `beta` may be learned. Half precision is computed in float32.

    With `group`, each rank passes its own rows, in any number, and does its rows' share of the work. Every
    rank returns the loss of the whole batch; its backward, called on all ranks, gives each the exact gradient
    with respect to its rows, and of what the ranks share (temperature, β, weights) parts that sum to the
    gradient (DistributedDataParallel would average them).

    Raises ValueError for an unknown objective, shapes that do not match, fewer than two pairs.
    """
    entry = get_objective(objective)
    if image.ndim != 2 or image.shape != text.shape:
        raise ValueError(f"image {tuple(image.shape)} and text {tuple(text.shape)} are not both (N, d)")
    if entry.hopfield and beta is None:
        raise ValueError(f"objective {objective!r} retrieves from Hopfield networks and needs beta")
    x, y = full_precision(image), full_precision(text)
    ranks = Ranks(len(x), group, x.device)
    _check_negatives(ranks.number)
    all_x, all_y = ranks.gather(x), ranks.gather(y)
    kappa = scalar(inv_temperature, x)
    loss = MARGIN_LOSSES[entry.loss]
    if entry.hopfield:
        beta = scalar(beta, x)
        if ranks.alone and len(x) > 2 * tile_edge(x):
            both_terms = _BothHopfieldTerms.apply(x, y, kappa, beta, loss)
        else:
            if ranks.alone:
                u_x, u_y, v_x, v_y = retrieve_small_batch(x, y, beta)
            else:
                u_x, u_y = hopfield_retrieval(x, all_x, beta), hopfield_retrieval(y, all_x, beta)
                v_x, v_y = hopfield_retrieval(x, all_y, beta), hopfield_retrieval(y, all_y, beta)
            image_term = _Term.apply(u_x, ranks.gather(u_y), kappa, loss, ranks.first)
            text_term = _Term.apply(v_y, ranks.gather(v_x), kappa, loss, ranks.first)
            both_terms = image_term + text_term
    elif ranks.alone:
        both_terms = _BothTerms.apply(x, y, kappa, loss)
    else:
        image_term = _Term.apply(x, all_y, kappa, loss, ranks.first)
        text_term = _Term.apply(y, all_x, kappa, loss, ranks.first)
        both_terms = image_term + text_term
    return ranks.total(loss.combine(both_terms, kappa))


def info_nce(anchors: Tensor, positives: Tensor, inv_temperature: Scalar) -> Tensor:
    """InfoNCE of anchors (N, d) and positives (N, d), row i with row i: a scalar, not multiplied by τ."""
    return _term(anchors, positives, inv_temperature, MARGIN_LOSSES["infonce"])


def info_loob(anchors: Tensor, positives: Tensor, inv_temperature: Scalar) -> Tensor:
    """InfoLOOB of anchors (N, d) and positives (N, d), row i with row i: a scalar, not multiplied by τ."""
    return _term(anchors, positives, inv_temperature, MARGIN_LOSSES["infoloob"])


@without_autocast
def _term(anchors: Tensor, positives: Tensor, inv_temperature: Scalar, loss: MarginLoss) -> Tensor:
    if anchors.ndim != 2 or anchors.shape != positives.shape:
        raise ValueError(
            f"anchors {tuple(anchors.shape)}, positives {tuple(positives.shape)}: not both (N, d)"
        )
    _check_negatives(len(anchors))
    anchors, positives = full_precision(anchors), full_precision(positives)
    return _Term.apply(anchors, positives, scalar(inv_temperature, anchors), loss, 0)


def _check_negatives(pairs: int) -> None:
    if pairs < 2:
        raise ValueError(
            f"{pairs} pair(s): a contrastive loss needs at least 2 pairs, or there is no negative"
        )


class _Term(torch.autograd.Function):
    """1/N Σ_i loss(m_i) over `anchors` (n, d); row i belongs to row first + i of `positives` (N, d)."""

    @staticmethod
    def forward(ctx, anchors: Tensor, positives: Tensor, kappa: Tensor, loss: MarginLoss, first: int):
        wanted = any(ctx.needs_input_grad)
        value, *gradients = _term_of(anchors, positives, kappa, loss, first, wanted)
        ctx.save_for_backward(anchors, kappa, *gradients)
        return value

    @staticmethod
    @once_differentiable
    @without_autocast
    def backward(ctx, gradient: Tensor):
        anchors, kappa, grad_anchors, grad_positives = ctx.saved_tensors
        grad_kappa = gradient * torch.dot(anchors.flatten(), grad_anchors.flatten())
        return gradient * kappa * grad_anchors, gradient * kappa * grad_positives, grad_kappa, None, None


def _term_of(
    anchors: Tensor, positives: Tensor, kappa: Tensor, margin_loss: MarginLoss, first: int, wanted: bool
) -> tuple[Tensor, Tensor | None, Tensor | None]:
    """The term and, if `wanted`, its gradients with respect to κ·anchors and κ·positives.

    They are formed strip by strip (a tile's height × N), while the weights are at hand.
    """
    loss = torch.zeros_like(kappa)
    grad_anchors = torch.empty_like(anchors) if wanted else None
    grad_positives = torch.zeros_like(positives) if wanted else None
    strip = anchors.new_empty(min(tile_edge(anchors), len(anchors)), len(positives))
    for a in blocks(anchors, tile_edge(anchors)):
        own = slice(first + a.start, first + a.stop)
        logits = torch.mm(anchors[a], positives.T, out=strip[: a.stop - a.start]).mul_(kappa)
        matched = logits.diagonal(own.start)
        positive = matched.clone()
        matched.fill_(-torch.inf)
        maximum = logits.amax(dim=1)
        weights = logits.sub_(maximum[:, None]).exp_()  # others · q_ij
        others = weights.sum(dim=1)
        losses, slopes = margin_loss.value_and_slope(others.log() + maximum - positive)
        loss += losses.sum() / len(positives)
        if wanted:
            slopes = slopes[:, None] / len(positives)
            weights.mul_(slopes / others[:, None]).diagonal(own.start).copy_(-slopes.squeeze(1))
            torch.mm(weights, positives, out=grad_anchors[a])
            grad_positives.addmm_(weights.T, anchors[a])
    return loss, grad_anchors, grad_positives


class _BothHopfieldTerms(torch.autograd.Function):
    """The image and the text term of a whole batch X, Y (N, d): three Gram matrices serve four retrievals.

    Each retrieval's backward pass asks for its D alone, so the forward pass goes on to it from the term's
    gradient and leaves four D behind, neither patterns nor gradients.
    """

    @staticmethod
    def forward(ctx, x: Tensor, y: Tensor, kappa: Tensor, beta: Tensor, loss: MarginLoss):
        wanted = any(ctx.needs_input_grad)
        y = y.view_as(y)  # may be X itself, which does not make it one batch that asks itself
        from_x = RunningSum(y)
        v_x, h_v_x = retrieve(x, y, beta, from_left=from_x).unit_rows()
        u_y, h_u_y = from_x.unit_rows()
        u_x, h_u_x = retrieve(x, x, beta).unit_rows()
        image_term, d_u_x, d_u_y = _term_of(u_x, u_y, kappa, loss, 0, wanted)
        image_kappa = _to_tangents(kappa, (d_u_x, u_x), (d_u_y, u_y)) if wanted else None
        del u_x, u_y, from_x
        v_y, h_v_y = retrieve(y, y, beta).unit_rows()
        text_term, d_v_y, d_v_x = _term_of(v_y, v_x, kappa, loss, 0, wanted)
        text_kappa = _to_tangents(kappa, (d_v_y, v_y), (d_v_x, v_x)) if wanted else None
        if wanted:
            tangents = d_v_x, h_v_x, d_u_y, h_u_y, d_u_x, h_u_x, d_v_y, h_v_y
            ctx.save_for_backward(x, y, beta, image_kappa + text_kappa, *tangents)
        return image_term + text_term

    @staticmethod
    @once_differentiable
    @without_autocast
    def backward(ctx, gradient: Tensor):
        x, y, beta, grad_kappa, *tangents = ctx.saved_tensors
        v_x, u_y, u_x, v_y = zip(tangents[::2], tangents[1::2], strict=True)  # D and h of each
        grad_x, grad_y = torch.zeros_like(x), torch.zeros_like(y)
        grad_beta = retrieve_backward(x, y, beta, v_x, u_y, grad_x, grad_y)
        grad_beta += retrieve_backward(x, x, beta, u_x, None, grad_x, grad_x)
        grad_beta += retrieve_backward(y, y, beta, v_y, None, grad_y, grad_y)
        return grad_x.mul_(gradient), grad_y.mul_(gradient), grad_kappa * gradient, grad_beta * gradient, None


def _to_tangents(
    kappa: Tensor, of_anchors: tuple[Tensor, Tensor], of_positives: tuple[Tensor, Tensor]
) -> Tensor:
    """Turn two pairs (gradient with respect to κ·Z, Z) to D in place; return the gradient of κ."""
    gradient, unit = of_anchors
    grad_kappa = torch.dot(gradient.flatten(), unit.flatten())
    for gradient, unit in (of_anchors, of_positives):
        for a in blocks(unit, tile_edge(unit)):
            gradient[a] = tangent(gradient[a], unit[a]).mul_(kappa)
    return grad_kappa


class _BothTerms(torch.autograd.Function):
    """The image and the text term of X and Y themselves (N, d): rows and columns of one matrix of logits.

    A tile's gradient takes the sums of whole rows and columns, so the backward pass makes the logits again,
    unless there is but one tile of them.
    """

    @staticmethod
    def forward(ctx, x: Tensor, y: Tensor, kappa: Tensor, loss: MarginLoss):
        positives = x.new_empty(len(x))
        others = x.new_full((2, len(x)), -torch.inf)  # ln Σ_{j≠i} exp, of row i and of column i
        for a, b, (logits,) in tiles(x, y, LOGITS_TILE, buffers=1):
            torch.mm(x[a], y[b].T, out=logits).mul_(kappa)
            if a == b:
                positives[a] = logits.diagonal()
                logits.fill_diagonal_(-torch.inf)
            others[0, a] = torch.logaddexp(others[0, a], logits.logsumexp(dim=1))
            others[1, b] = torch.logaddexp(others[1, b], logits.logsumexp(dim=0))
        losses, slopes = loss.value_and_slope(others - positives)
        ctx.save_for_backward(x, y, kappa, others, slopes, logits if len(x) <= LOGITS_TILE else None)
        return losses.sum() / len(x)

    @staticmethod
    @once_differentiable
    @without_autocast
    def backward(ctx, gradient: Tensor):
        x, y, kappa, others, slopes, kept = ctx.saved_tensors
        slopes = slopes * (gradient / len(x))
        grad_x, grad_y = torch.zeros_like(x), torch.zeros_like(y)  # first with respect to κ·x and κ·y
        for a, b, (logits, weights) in tiles(x, y, LOGITS_TILE, buffers=2):
            if kept is None:
                torch.mm(x[a], y[b].T, out=logits).mul_(kappa)
            else:
                logits.copy_(kept)
            torch.sub(logits, others[0, a, None], out=weights).exp_().mul_(slopes[0, a, None])
            weights.addcmul_(logits.sub_(others[1, b]).exp_(), slopes[1, b])
            if a == b:
                weights.diagonal().copy_(-slopes[:, a].sum(dim=0))
            grad_x[a].addmm_(weights, y[b])
            grad_y[b].addmm_(weights.T, x[a])
        grad_kappa = torch.dot(x.flatten(), grad_x.flatten())
        return grad_x.mul_(kappa), grad_y.mul_(kappa), grad_kappa, None
