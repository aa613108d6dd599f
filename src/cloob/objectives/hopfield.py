"""Retrieval from continuous modern Hopfield networks (the paper's section on CLOOB), tile by tile.

    U_x = normalize(softmax(β x Uᵀ) U)

A retrieved pattern is normalized, so the softmax's denominator cancels: U_x = E U with E = exp(β x Uᵀ − h),
where h_i makes row i a unit vector. The backward pass of a gradient G uses its component tangent to the unit
sphere, D = G − (G·U_x) U_x: the scores β x Uᵀ receive E∘(D Uᵀ), without the softmax's usual correction, which
is D·U_x = 0; the stored patterns receive Eᵀ D.
"""

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from cloob.objectives.tiling import Scalar, as_scalar, full_precision, tile_size, tiles, without_autocast

Pair = tuple[Tensor, Tensor]


@without_autocast
def hopfield_retrieval(state: Tensor, stored: Tensor, beta: Scalar) -> Tensor:
    """Retrieve each state pattern from the stored patterns: normalize(softmax(β·state·storedᵀ)·stored).

    state (n, d), stored (m, d) -> (n, d), rows of unit length. Self-retrieval (`state is stored`) computes
    only half of the scores.
    """
    self_retrieval = state is stored
    state = full_precision(state)
    stored = state if self_retrieval else full_precision(stored)
    return _Retrieval.apply(state, stored, as_scalar(beta, state))


def retrieve_pairs(
    x: Tensor, y: Tensor, stored_x: Tensor, stored_y: Tensor, beta: Scalar
) -> tuple[Pair, Pair]:
    """The (anchors, positives) that the Hopfield objectives compare: (U_x, U_y) and (V_y, V_x), (n, d) each.

    Images x and texts y (n, d) are retrieved from the stored images (U) and from the stored texts (V).
    """
    u_x, u_y = hopfield_retrieval(x, stored_x, beta), hopfield_retrieval(y, stored_x, beta)
    v_x, v_y = hopfield_retrieval(x, stored_y, beta), hopfield_retrieval(y, stored_y, beta)
    return (u_x, u_y), (v_y, v_x)


def retrieve_pairs_untiled(x: Tensor, y: Tensor, beta: Tensor) -> tuple[Pair, Pair]:
    """`retrieve_pairs` of a batch from itself, without tiling: faster for at most four tiles."""
    x_x, y_y, x_y = beta * (x @ x.T), beta * (y @ y.T), beta * (x @ y.T)
    u_x = _Normalize.apply(torch.softmax(x_x, dim=1) @ x)
    u_y = _Normalize.apply(torch.softmax(x_y, dim=0).T @ x)
    v_x = _Normalize.apply(torch.softmax(x_y, dim=1) @ y)
    v_y = _Normalize.apply(torch.softmax(y_y, dim=1) @ y)
    return (u_x, u_y), (v_y, v_x)


class _Retrieval(torch.autograd.Function):
    """`left` (n, d) retrieved from `right` (m, d)."""

    @staticmethod
    def forward(ctx, left: Tensor, right: Tensor, beta: Tensor):
        ctx.self_retrieval = left is right
        retrieved, h = retrieve_tiled(left, right, beta).normalized()
        ctx.save_for_backward(left, right, beta, retrieved, h)
        return retrieved

    @staticmethod
    @once_differentiable
    @without_autocast
    def backward(ctx, gradient: Tensor):
        left, right, beta, retrieved, h = ctx.saved_tensors
        if ctx.self_retrieval:
            right = left
        grad_left = torch.zeros_like(left)
        grad_right = grad_left if ctx.self_retrieval else torch.zeros_like(right)
        d_left = tangent_component(gradient, retrieved)
        grad_beta = retrieve_tiled_backward(left, right, beta, (d_left, h), None, grad_left, grad_right)
        return grad_left, None if ctx.self_retrieval else grad_right, grad_beta


def retrieve_tiled(
    left: Tensor, right: Tensor, beta: Tensor, right_from_left: "OnlineSoftmaxSum | None" = None
) -> "OnlineSoftmaxSum":
    """Retrieve `left` (n, d) from `right` (m, d).

    The same scores also retrieve `right` from `left`; with `right_from_left`, that sum is accumulated too.
    Self-retrieval (`left is right`) needs only the tiles on and above the diagonal, because each tile above
    it is the transpose of the one mirrored at the diagonal.
    """
    self_retrieval = left is right
    left_from_right = OnlineSoftmaxSum(left)
    transposed_sum = left_from_right if self_retrieval else right_from_left
    queries = beta * left
    for a, b, (scores, weights) in tiles(left, right, tile_size(left), buffers=2, upper=self_retrieval):
        torch.mm(queries[a], right[b].T, out=scores)
        left_from_right.add(a, scores, right[b], weights)
        if transposed_sum and not (self_retrieval and a == b):
            transposed_sum.add(b, scores.T, left[a], weights.T)
    return left_from_right


def retrieve_tiled_backward(
    left: Tensor,
    right: Tensor,
    beta: Tensor,
    left_from_right: tuple[Tensor, Tensor],
    right_from_left: tuple[Tensor, Tensor] | None,
    grad_left: Tensor,
    grad_right: Tensor,
) -> Tensor:
    """Add the gradients of `retrieve_tiled` to `grad_left` and `grad_right`; return the gradient of β.

    `left_from_right` holds D (n, d) and h (n,) of the retrieval of `left`, `right_from_left` those of `right`
    (None: it was not retrieved).
    """
    self_retrieval = left is right
    d_left, h_left = left_from_right
    d_right, h_right = left_from_right if self_retrieval else right_from_left or (None, None)
    grad_beta = torch.zeros_like(beta)
    for a, b, (scores, weights, grad_scores) in tiles(
        left, right, tile_size(left), buffers=3, upper=self_retrieval
    ):
        queries = beta * left[a]
        torch.mm(queries, right[b].T, out=scores)
        torch.sub(scores, h_left[a, None], out=weights).exp_()
        grad_right[b].addmm_(weights.T, d_left[a])
        torch.mm(d_left[a], right[b].T, out=grad_scores).mul_(weights)
        if d_right is not None and not (self_retrieval and a == b):
            scores.sub_(h_right[b]).exp_()
            grad_left[a].addmm_(scores, d_right[b])
            grad_scores.addcmul_(scores, torch.mm(left[a], d_right[b].T, out=weights))
        grad_right[b].addmm_(grad_scores.T, queries)
        grad_queries = grad_scores @ right[b]
        grad_left[a].addcmul_(grad_queries, beta)
        grad_beta += torch.dot(left[a].flatten(), grad_queries.flatten())
    return grad_beta


class OnlineSoftmaxSum:
    """Online softmax: Σ_j exp(s_ij − m_i) u_j over tiles of j, with m_i the running maximum of s_ij.

    No β overflows, and no row underflows to zero.
    """

    def __init__(self, states: Tensor) -> None:
        self.sum = torch.zeros_like(states)
        self.maximum = states.new_full((len(states), 1), -torch.inf)

    def add(self, rows: slice, scores: Tensor, stored: Tensor, weights: Tensor) -> None:
        """Add a tile of `scores` of these rows; `weights` is scratch memory of the same shape."""
        old_maximum = self.maximum[rows]
        new_maximum = torch.maximum(old_maximum, scores.amax(dim=1, keepdim=True))
        torch.sub(scores, new_maximum, out=weights).exp_()
        self.sum[rows].mul_((old_maximum - new_maximum).exp_()).addmm_(weights, stored)
        self.maximum[rows] = new_maximum

    def normalized(self) -> tuple[Tensor, Tensor]:
        """The unit-length rows of Σ_j exp(s_ij − h_i) u_j, and h (n,)."""
        norm = _row_norms(self.sum)
        return self.sum.div_(norm), (self.maximum + norm.log()).squeeze(1)


class _Normalize(torch.autograd.Function):
    """F.normalize of the rows, with a third of its memory traffic in the backward pass."""

    @staticmethod
    def forward(ctx, rows: Tensor):
        norm = _row_norms(rows)
        unit = rows / norm
        ctx.save_for_backward(unit, norm)
        return unit

    @staticmethod
    @once_differentiable
    def backward(ctx, gradient: Tensor):
        unit, norm = ctx.saved_tensors
        return tangent_component(gradient, unit).div_(norm)


def _row_norms(rows: Tensor) -> Tensor:
    """The Euclidean norm of each row, (n, 1); clamped above 0, because stored patterns may cancel out."""
    norm = torch.linalg.vector_norm(rows, dim=1, keepdim=True)
    return norm.clamp_min_(torch.finfo(norm.dtype).tiny)


def tangent_component(gradient: Tensor, unit: Tensor) -> Tensor:
    """D = G − (G·Z) Z, row by row: the component of G tangent to the unit sphere at Z."""
    return torch.addcmul(gradient, (gradient * unit).sum(dim=1, keepdim=True), unit, value=-1)
