"""Retrieval from continuous modern Hopfield networks, over the tiles of one Gram matrix.

A retrieved pattern is normalized, so the softmax's denominator cancels: U_x = E U, E = exp(β x Uᵀ − h), h_i
the number that makes row i a unit vector. Its gradient G enters as D = G − (G·U_x) U_x: the scores β x Uᵀ
receive E∘(D Uᵀ) (the softmax's usual correction is D·U_x = 0), the stored patterns Eᵀ D.
"""

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from cloob.objectives.tiling import Scalar, full_precision, scalar, tile_edge, tiles, without_autocast


@without_autocast
def hopfield_retrieval(state: Tensor, stored: Tensor, beta: Scalar) -> Tensor:
    """Retrieve each state pattern from the stored ones: normalize(softmax(β·state·storedᵀ)·stored).

    state (n, d), stored (m, d) → (n, d), rows of unit length. Where `state is stored`, half of the scores do.
    """
    itself = state is stored
    state = full_precision(state)
    stored = state if itself else full_precision(stored)
    return _Retrieval.apply(state, stored, scalar(beta, state))


def retrieve_small_batch(x: Tensor, y: Tensor, beta: Tensor) -> tuple[Tensor, ...]:
    """U_x, U_y, V_x, V_y of four tiles at most: the formula as it stands, with less to set up."""
    x_x, y_y, x_y = beta * (x @ x.T), beta * (y @ y.T), beta * (x @ y.T)
    return (
        _Normalised.apply(torch.softmax(x_x, dim=1) @ x),
        _Normalised.apply(torch.softmax(x_y, dim=0).T @ x),
        _Normalised.apply(torch.softmax(x_y, dim=1) @ y),
        _Normalised.apply(torch.softmax(y_y, dim=1) @ y),
    )


class _Retrieval(torch.autograd.Function):
    """`left` (n, d) retrieved from `right` (m, d)."""

    @staticmethod
    def forward(ctx, left: Tensor, right: Tensor, beta: Tensor):
        ctx.itself = left is right
        retrieved, h = retrieve(left, right, beta).unit_rows()
        ctx.save_for_backward(left, right, beta, retrieved, h)
        return retrieved

    @staticmethod
    @once_differentiable
    @without_autocast
    def backward(ctx, gradient: Tensor):
        left, right, beta, retrieved, h = ctx.saved_tensors
        if ctx.itself:
            right = left
        grad_left = torch.zeros_like(left)
        grad_right = grad_left if ctx.itself else torch.zeros_like(right)
        d_left = tangent(gradient, retrieved)
        grad_beta = retrieve_backward(left, right, beta, (d_left, h), None, grad_left, grad_right)
        return grad_left, None if ctx.itself else grad_right, grad_beta


def retrieve(
    left: Tensor, right: Tensor, beta: Tensor, from_left: "RunningSum | None" = None
) -> "RunningSum":
    """What `left` (n, d) retrieves from `right` (m, d); `from_left` takes what `right` retrieves from `left`.

    A batch that asks itself (`left is right`) needs only the tiles on and above the diagonal: a tile beyond
    the diagonal stands for its mirror image too.
    """
    itself = left is right
    from_right = RunningSum(left)
    mirrored = from_right if itself else from_left
    asked = beta * left
    for a, b, (scores, weights) in tiles(left, right, tile_edge(left), buffers=2, upper=itself):
        torch.mm(asked[a], right[b].T, out=scores)
        from_right.add(a, scores, right[b], weights)
        if mirrored and not (itself and a == b):
            mirrored.add(b, scores.T, left[a], weights.T)
    return from_right


def retrieve_backward(
    left: Tensor,
    right: Tensor,
    beta: Tensor,
    from_right: tuple[Tensor, Tensor],
    from_left: tuple[Tensor, Tensor] | None,
    grad_left: Tensor,
    grad_right: Tensor,
) -> Tensor:
    """Add the gradients of `retrieve` to `grad_left` and `grad_right`; return the one of β.

    `from_right` is D (n, d) and h (n,) of what `left` retrieved, `from_left` the same of `right` (or None).
    """
    itself = left is right
    (d_left, h_left), (d_right, h_right) = from_right, from_right if itself else from_left or (None, None)
    grad_beta = torch.zeros_like(beta)
    for a, b, (scores, weights, grad_scores) in tiles(left, right, tile_edge(left), buffers=3, upper=itself):
        asked = beta * left[a]
        torch.mm(asked, right[b].T, out=scores)
        torch.sub(scores, h_left[a, None], out=weights).exp_()
        grad_right[b].addmm_(weights.T, d_left[a])
        torch.mm(d_left[a], right[b].T, out=grad_scores).mul_(weights)
        if d_right is not None and not (itself and a == b):
            scores.sub_(h_right[b]).exp_()
            grad_left[a].addmm_(scores, d_right[b])
            grad_scores.addcmul_(scores, torch.mm(left[a], d_right[b].T, out=weights))
        grad_right[b].addmm_(grad_scores.T, asked)
        grad_asked = grad_scores @ right[b]
        grad_left[a].addcmul_(grad_asked, beta)
        grad_beta += torch.dot(left[a].flatten(), grad_asked.flatten())
    return grad_beta


class RunningSum:
    """Σ_j exp(s_ij − m_i) u_j over tiles of j, m_i the largest s_ij so far: no β overflows or loses a row."""

    def __init__(self, states: Tensor) -> None:
        self.sum = torch.zeros_like(states)
        self.maximum = states.new_full((len(states), 1), -torch.inf)

    def add(self, rows: slice, scores: Tensor, stored: Tensor, weights: Tensor) -> None:
        """Add the tile of `scores`; `weights` is scratch memory of its shape."""
        before = self.maximum[rows]
        now = torch.maximum(before, scores.amax(dim=1, keepdim=True))
        torch.sub(scores, now, out=weights).exp_()
        self.sum[rows].mul_((before - now).exp_()).addmm_(weights, stored)
        self.maximum[rows] = now

    def unit_rows(self) -> tuple[Tensor, Tensor]:
        """The rows of Σ_j exp(s_ij − h_i) u_j, of length 1, and h (n,)."""
        length = _length(self.sum)
        return self.sum.div_(length), (self.maximum + length.log()).squeeze(1)


class _Normalised(torch.autograd.Function):
    """Rows of length 1, as F.normalize, with a third of its traffic in the backward pass."""

    @staticmethod
    def forward(ctx, rows: Tensor):
        length = _length(rows)
        unit = rows / length
        ctx.save_for_backward(unit, length)
        return unit

    @staticmethod
    @once_differentiable
    def backward(ctx, gradient: Tensor):
        unit, length = ctx.saved_tensors
        return tangent(gradient, unit).div_(length)


def _length(rows: Tensor) -> Tensor:
    """The length of each row, (n, 1); not 0, because patterns that cancel have no direction."""
    length = torch.linalg.vector_norm(rows, dim=1, keepdim=True)
    return length.clamp_min_(torch.finfo(length.dtype).tiny)


def tangent(gradient: Tensor, unit: Tensor) -> Tensor:
    """D = G − (G·Z) Z, row by row: what of the gradient changes a direction Z."""
    return torch.addcmul(gradient, (gradient * unit).sum(dim=1, keepdim=True), unit, value=-1)
