"""What L-BFGS remembers of a function, for a preconditioner that changes from step to step."""

import math

import torch
from torch import Tensor

PAIRS = 10  # curvature pairs that L-BFGS remembers


class Memory:
    """The curvature pairs of L-BFGS: steps s and what they changed in the gradient, y."""

    def __init__(self) -> None:
        self.pairs: list[tuple[Tensor, Tensor, float]] = []  # s, y, 1 / s·y

    def add(self, step: Tensor, change: Tensor) -> None:
        """Remember a pair, unless rounding has eaten its curvature."""
        product = dot(step, change)
        if product > 1e-10 * math.sqrt(dot(step, step) * dot(change, change)):
            self.pairs = [*self.pairs[1 - PAIRS :], (step, change, 1 / product)]

    def change_strength(self, difference: float, penalised: Tensor) -> None:
        """Make the pairs those of another λ: its penalty adds difference · s to y, where `penalised` is 1."""
        pairs, self.pairs = self.pairs, []
        for step, change, _ in pairs:
            self.add(step, change + (difference * penalised).to(step.dtype) * step)

    def direction(self, gradient: Tensor, preconditioner: Tensor) -> Tensor:
        """−H·gradient, by the two-loop recursion (Nocedal and Wright, algorithm 7.4)."""
        direction, shares = -gradient, []
        for step, change, inverse in reversed(self.pairs):
            shares.append(inverse * dot(step, direction))
            direction = direction - shares[-1] * change
        direction = direction * preconditioner
        if self.pairs:
            _, change, inverse = self.pairs[-1]
            direction /= inverse * dot(change, preconditioner * change)
        for (step, change, inverse), share in zip(self.pairs, reversed(shares), strict=True):
            direction = direction + (share - inverse * dot(change, direction)) * step
        return direction


def dot(one: Tensor, other: Tensor) -> float:
    """The inner product of two tensors of one shape."""
    return torch.dot(one.flatten(), other.flatten()).item()
