"""Autograd functions of the losses, which recompute scores in the backward pass instead of storing them."""

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from cloob.objectives.hopfield import (
    OnlineSoftmaxSum,
    retrieve_tiled,
    retrieve_tiled_backward,
    tangent_component,
)
from cloob.objectives.margin_losses import MarginLoss
from cloob.objectives.margins import strip_buffer, strip_margins
from cloob.objectives.tiling import LOGITS_TILE_SIZE, row_blocks, tile_size, tiles, without_autocast


class OneSidedLoss(torch.autograd.Function):
    """1/N Σ_i ℓ(m_i) over `anchors` (n, d); row i belongs to row `offset` + i of `positives` (N, d)."""

    @staticmethod
    def forward(ctx, anchors: Tensor, positives: Tensor, inv_temp: Tensor, loss: MarginLoss, offset: int):
        needs_grad = any(ctx.needs_input_grad)
        value, *gradients = _one_sided(anchors, positives, inv_temp, loss, offset, needs_grad)
        ctx.save_for_backward(anchors, inv_temp, *gradients)
        return value

    @staticmethod
    @once_differentiable
    @without_autocast
    def backward(ctx, gradient: Tensor):
        anchors, inv_temp, grad_anchors, grad_positives = ctx.saved_tensors
        grad_inv_temp = gradient * torch.dot(anchors.flatten(), grad_anchors.flatten())
        scale = gradient * inv_temp
        return scale * grad_anchors, scale * grad_positives, grad_inv_temp, None, None


def _one_sided(
    anchors: Tensor, positives: Tensor, inv_temp: Tensor, loss: MarginLoss, offset: int, needs_grad: bool
) -> tuple[Tensor, Tensor | None, Tensor | None]:
    """The loss and, if `needs_grad`, its gradients with respect to anchors/τ and positives/τ.

    The gradients are computed strip by strip (a tile's height × N), while the softmax is in memory.
    """
    value = torch.zeros_like(inv_temp)
    grad_anchors = torch.empty_like(anchors) if needs_grad else None
    grad_positives = torch.zeros_like(positives) if needs_grad else None
    buffer = strip_buffer(anchors, positives)
    for rows in row_blocks(anchors, tile_size(anchors)):
        first = offset + rows.start
        margins, weights, weight_sum = strip_margins(
            anchors[rows], positives, inv_temp, first, buffer[: rows.stop - rows.start]
        )
        losses, slopes = loss.value_and_slope(margins)
        value += losses.sum() / len(positives)
        if needs_grad:
            slopes = slopes[:, None] / len(positives)
            weights.mul_(slopes / weight_sum[:, None]).diagonal(first).copy_(-slopes.squeeze(1))
            torch.mm(weights, positives, out=grad_anchors[rows])
            grad_positives.addmm_(weights.T, anchors[rows])
    return value, grad_anchors, grad_positives


class FusedLoss(torch.autograd.Function):
    """Image loss + text loss of the embeddings X, Y (N, d): the rows and the columns of one matrix of logits.

    The gradient of a tile needs the sums of whole rows and columns, so the backward pass recomputes the
    logits, unless they fit into a single tile.
    """

    @staticmethod
    def forward(ctx, x: Tensor, y: Tensor, inv_temp: Tensor, loss: MarginLoss):
        positive_logits = x.new_empty(len(x))
        negatives = x.new_full((2, len(x)), -torch.inf)  # ln Σ_{j≠i} exp(logit) of row i and of column i
        for a, b, (logits,) in tiles(x, y, LOGITS_TILE_SIZE, buffers=1):
            torch.mm(x[a], y[b].T, out=logits).mul_(inv_temp)
            if a == b:
                positive_logits[a] = logits.diagonal()
                logits.fill_diagonal_(-torch.inf)
            negatives[0, a] = torch.logaddexp(negatives[0, a], logits.logsumexp(dim=1))
            negatives[1, b] = torch.logaddexp(negatives[1, b], logits.logsumexp(dim=0))
        losses, slopes = loss.value_and_slope(negatives - positive_logits)
        single_tile = logits if len(x) <= LOGITS_TILE_SIZE else None
        ctx.save_for_backward(x, y, inv_temp, negatives, slopes, single_tile)
        return losses.sum() / len(x)

    @staticmethod
    @once_differentiable
    @without_autocast
    def backward(ctx, gradient: Tensor):
        x, y, inv_temp, negatives, slopes, single_tile = ctx.saved_tensors
        slopes = slopes * (gradient / len(x))
        grad_x, grad_y = torch.zeros_like(x), torch.zeros_like(y)  # at first with respect to x/τ and y/τ
        for a, b, (logits, weights) in tiles(x, y, LOGITS_TILE_SIZE, buffers=2):
            if single_tile is None:
                torch.mm(x[a], y[b].T, out=logits).mul_(inv_temp)
            else:
                logits.copy_(single_tile)
            torch.sub(logits, negatives[0, a, None], out=weights).exp_().mul_(slopes[0, a, None])
            weights.addcmul_(logits.sub_(negatives[1, b]).exp_(), slopes[1, b])
            if a == b:
                weights.diagonal().copy_(-slopes[:, a].sum(dim=0))
            grad_x[a].addmm_(weights, y[b])
            grad_y[b].addmm_(weights.T, x[a])
        grad_inv_temp = torch.dot(x.flatten(), grad_x.flatten())
        return grad_x.mul_(inv_temp), grad_y.mul_(inv_temp), grad_inv_temp, None


class FusedHopfieldLoss(torch.autograd.Function):
    """Image loss + text loss after Hopfield retrieval of X, Y (N, d): three Gram matrices, four retrievals.

    The backward pass of a retrieval needs only D (see `cloob.objectives.hopfield`), so the forward pass
    already turns the gradients of the loss into the four D, and stores neither patterns nor gradients.
    """

    @staticmethod
    def forward(ctx, x: Tensor, y: Tensor, inv_temp: Tensor, beta: Tensor, loss: MarginLoss):
        needs_grad = any(ctx.needs_input_grad)
        y = y.view_as(y)  # even if Y is X, the retrieval between them is not self-retrieval
        y_from_x = OnlineSoftmaxSum(y)
        v_x, h_v_x = retrieve_tiled(x, y, beta, right_from_left=y_from_x).normalized()
        u_y, h_u_y = y_from_x.normalized()
        u_x, h_u_x = retrieve_tiled(x, x, beta).normalized()
        image_loss, d_u_x, d_u_y = _one_sided(u_x, u_y, inv_temp, loss, 0, needs_grad)
        image_grad = _gradients_to_tangents(inv_temp, (d_u_x, u_x), (d_u_y, u_y)) if needs_grad else None
        del u_x, u_y, y_from_x
        v_y, h_v_y = retrieve_tiled(y, y, beta).normalized()
        text_loss, d_v_y, d_v_x = _one_sided(v_y, v_x, inv_temp, loss, 0, needs_grad)
        text_grad = _gradients_to_tangents(inv_temp, (d_v_y, v_y), (d_v_x, v_x)) if needs_grad else None
        if needs_grad:
            tangents = d_v_x, h_v_x, d_u_y, h_u_y, d_u_x, h_u_x, d_v_y, h_v_y
            ctx.save_for_backward(x, y, beta, image_grad + text_grad, *tangents)
        return image_loss + text_loss

    @staticmethod
    @once_differentiable
    @without_autocast
    def backward(ctx, gradient: Tensor):
        x, y, beta, grad_inv_temp, *tangents = ctx.saved_tensors
        v_x, u_y, u_x, v_y = zip(tangents[::2], tangents[1::2], strict=True)  # (D, h) of each retrieval
        grad_x, grad_y = torch.zeros_like(x), torch.zeros_like(y)
        grad_beta = retrieve_tiled_backward(x, y, beta, v_x, u_y, grad_x, grad_y)
        grad_beta += retrieve_tiled_backward(x, x, beta, u_x, None, grad_x, grad_x)
        grad_beta += retrieve_tiled_backward(y, y, beta, v_y, None, grad_y, grad_y)
        grad_x, grad_y = grad_x.mul_(gradient), grad_y.mul_(gradient)
        return grad_x, grad_y, grad_inv_temp * gradient, grad_beta * gradient, None


def _gradients_to_tangents(
    inv_temp: Tensor, anchors: tuple[Tensor, Tensor], positives: tuple[Tensor, Tensor]
) -> Tensor:
    """Turn the gradients of anchors and positives, each (gradient of Z/τ, Z), into D in place.

    Returns the gradient of 1/τ.
    """
    gradient, unit = anchors
    grad_inv_temp = torch.dot(gradient.flatten(), unit.flatten())
    for gradient, unit in (anchors, positives):
        for rows in row_blocks(unit, tile_size(unit)):
            gradient[rows] = tangent_component(gradient[rows], unit[rows]).mul_(inv_temp)
    return grad_inv_temp
