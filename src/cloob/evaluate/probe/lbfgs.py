"""Limited-memory BFGS with a preconditioner that may change in every iteration (see README.md)."""

import math

import torch
from torch import Tensor

HISTORY_SIZE = 10  # curvature pairs


class CurvaturePairs:
    """The history of L-BFGS: steps s and the changes y of the gradient along them."""

    def __init__(self) -> None:
        self.pairs: list[tuple[Tensor, Tensor, float]] = []  # s, y, 1 / s·y

    def add(self, step: Tensor, change: Tensor) -> None:
        """Append a pair; skip pairs that violate the curvature condition s·y > 0 up to rounding."""
        product = dot(step, change)
        if product > 1e-10 * math.sqrt(dot(step, step) * dot(change, change)):
            self.pairs = [*self.pairs[1 - HISTORY_SIZE :], (step, change, 1 / product)]

    def shift_penalty(self, difference: float, penalty_mask: Tensor) -> None:
        """Convert the pairs to another L2 strength: y + (λ' − λ) · s, where `penalty_mask` is 1."""
        pairs, self.pairs = self.pairs, []
        for step, change, _ in pairs:
            self.add(step, change + (difference * penalty_mask).to(step.dtype) * step)

    def direction(self, gradient: Tensor, preconditioner: Tensor) -> Tensor:
        """−H · gradient by the two-loop recursion (Nocedal and Wright, algorithm 7.4).

        H0 is `preconditioner`, scaled to fit the newest pair.
        """
        direction, alphas = -gradient, []
        for step, change, rho in reversed(self.pairs):
            alphas.append(rho * dot(step, direction))
            direction = direction - alphas[-1] * change
        direction = direction * preconditioner
        if self.pairs:
            _, change, rho = self.pairs[-1]
            direction /= rho * dot(change, preconditioner * change)
        for (step, change, rho), alpha in zip(self.pairs, reversed(alphas), strict=True):
            direction = direction + (alpha - rho * dot(change, direction)) * step
        return direction


def dot(left: Tensor, right: Tensor) -> float:
    """The inner product of two tensors of equal shape."""
    return torch.dot(left.flatten(), right.flatten()).item()
