"""The objective of a multinomial logistic regression: value, gradient, preconditioner, Hessian products.

README.md in this folder derives the formulas.
"""

from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

import torch
from torch import Tensor

# Logits per chunk: on a CPU 1 MB in float32, which fits into its cache; on a GPU 1 GB.
_LOGITS_PER_CHUNK = {"cpu": 2**18, "cuda": 2**28}
# Probabilities that are cached for Hessian products (1 GB); more are recomputed for every product.
_MAX_CACHED_PROBABILITIES = 2**28


class Evaluation(NamedTuple):
    """A point (d + 1, K) with F, the gradient of F, and a diagonal preconditioner."""

    point: Tensor
    value: float
    gradient: Tensor
    preconditioner: Tensor


class Problem:
    """F at a point (d + 1, K): the weights in the eigenbasis of the scatter matrix, and the bias as last row.

    The bias refers to centered features, so that the scatter does not couple it with the weights.
    """

    def __init__(self, features: Tensor, labels: Tensor, counts: Tensor) -> None:
        """`features` (n, d), `labels` (n,) in 0 … K − 1, `counts` (K,) the number of images of each class."""
        self.features, self.labels, self.counts = features, labels[:, None], counts
        self.evaluations = 0
        self.classes = len(counts)
        frequencies = (counts / counts.sum()).double()
        self.value_without_weights = -(counts * frequencies.log()).sum().item()
        self.chunk_size = max(256, _LOGITS_PER_CHUNK[features.device.type] // self.classes)
        double: dict[str, Any] = {"dtype": torch.float64, "device": features.device}
        # In float64: in float32 the square of a small feature is lost next to that of a large one.
        total, gram = torch.zeros(features.shape[1], **double), torch.zeros(features.shape[1], 1, **double)
        for chunk in features.split(self.chunk_size):
            exact = chunk.double()
            total, gram = total + exact.sum(0), gram + exact.T @ exact
        scatter = gram - total[:, None] * (total / len(features))
        eigenvalues, basis = torch.linalg.eigh(scatter)
        self.mean, self.basis = total / len(features), basis
        # Per row of a point, the factor of c_k in the Hessian's diagonal: eigenvalues, and n for the bias.
        self.scatter = torch.cat([eigenvalues.clamp(min=0), eigenvalues.new_tensor([len(features)])])[:, None]
        self.largest_eigenvalue = eigenvalues[-1].item()
        self.penalty_mask = torch.ones(len(self.scatter), 1, **double)  # 0 for the bias
        self.penalty_mask[-1] = 0

    def initial_point(self) -> Tensor:
        """Zero weights, and the bias that predicts the class frequencies (0 if they are all equal)."""
        point = self.scatter.new_zeros(len(self.scatter), self.classes)
        logarithms = self.counts.double().log()
        point[-1] = logarithms - logarithms.mean()
        return point

    def to_eigenbasis(self, weights: Tensor, bias: Tensor) -> Tensor:
        """Weights (d, K) and bias (K,) in feature coordinates -> point (d + 1, K)."""
        return torch.cat([self.basis.T @ weights, (bias + self.mean @ weights)[None]])

    def from_eigenbasis(self, point: Tensor) -> tuple[Tensor, Tensor]:
        """Point (d + 1, K) -> weights (d, K) and bias (K,) in feature coordinates."""
        weights = self.basis @ point[:-1]
        return weights, point[-1] - self.mean @ weights

    def evaluate(self, point: Tensor, strength: float, precision: torch.dtype) -> Evaluation:
        """F, its gradient and the preconditioner; products with the features are computed in `precision`."""
        self.evaluations += 1
        weights, bias = (part.to(precision) for part in self.from_eigenbasis(point))
        weights_gradient = torch.zeros_like(weights)
        loss = self.scatter.new_zeros(())
        bias_gradient, curvature = self.scatter.new_zeros(self.classes), self.scatter.new_zeros(self.classes)
        chunks = self.features.split(self.chunk_size), self.labels.split(self.chunk_size)
        for chunk, labels in zip(*chunks, strict=True):
            images = chunk.to(precision)
            losses, residuals = _losses_and_residuals(torch.addmm(bias, images, weights), labels)
            loss += losses.double().sum()
            weights_gradient.addmm_(images.T, residuals)
            bias_gradient += residuals.sum(0)
            # Σ p (1 − p) for every class, since |residual| is p or 1 − p.
            curvature += residuals.abs_().sum(0) - residuals.square_().sum(0)
        centered = weights_gradient.double() - torch.outer(self.mean, bias_gradient)
        gradient = torch.cat([self.basis.T @ centered + strength * point[:-1], bias_gradient[None]])
        value = loss + strength / 2 * point[:-1].square().sum()
        # The lower bound keeps the preconditioner finite for a class that is separated with certainty.
        mean_curvature = (curvature / len(self.features)).clamp(min=1e-12)
        preconditioner = 1 / (self.scatter * mean_curvature + strength * self.penalty_mask)
        return Evaluation(point, value.item(), gradient, preconditioner)

    def hessian(self, point: Tensor, strength: float) -> Callable[[Tensor], Tensor]:
        """A function from a direction (d + 1, K) to the Hessian-vector product at `point`, in float32."""
        weights, bias = (part.float() for part in self.from_eigenbasis(point))

        def all_probabilities() -> Iterable[Tensor]:
            for chunk in self.features.split(self.chunk_size):
                yield torch.addmm(bias, chunk.float(), weights).softmax(dim=1)

        fits = len(self.features) * self.classes <= _MAX_CACHED_PROBABILITIES
        cached = list(all_probabilities()) if fits else None

        def product(direction: Tensor) -> Tensor:
            weights_direction, bias_direction = (part.float() for part in self.from_eigenbasis(direction))
            weights_product = torch.zeros_like(weights_direction)
            bias_product = self.scatter.new_zeros(self.classes)
            chunks = self.features.split(self.chunk_size), cached or all_probabilities()
            for chunk, probabilities in zip(*chunks, strict=True):
                images = chunk.float()
                changes = torch.addmm(bias_direction, images, weights_direction).mul_(probabilities)
                changes -= probabilities * changes.sum(dim=1, keepdim=True)
                weights_product.addmm_(images.T, changes)
                bias_product += changes.sum(0)
            centered = weights_product.double() - torch.outer(self.mean, bias_product)
            return torch.cat([self.basis.T @ centered + strength * direction[:-1], bias_product[None]])

        return product

    def max_suboptimality(self, current: Evaluation, strength: float) -> float:
        """An upper bound of F − min F by strong convexity: ‖gradient‖² / 2λ.

        The biases are not penalized; their part is an estimate from the preconditioner.
        """
        weights, bias = current.gradient[:-1].square(), current.gradient[-1].square()
        return (weights.sum() / strength + (bias * current.preconditioner[-1]).sum()).item() / 2


def _losses_and_residuals(logits: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """Cross-entropies (n, 1) and softmax − onehot (n, K); overwrites `logits`.

    Both keep their relative precision for images that are classified with near certainty (1 − p is never
    formed): with weak regularization such images dominate F.
    """
    logits -= logits.amax(dim=1, keepdim=True)
    target_logits = logits.gather(1, labels)
    exponentials = logits.exp_()
    target_exponentials = exponentials.gather(1, labels)
    exponentials.scatter_(1, labels, 0.0)
    others = exponentials.sum(dim=1, keepdim=True)
    total = others + target_exponentials
    exponentials /= total
    exponentials.scatter_(1, labels, -others / total)
    return torch.log1p(others + (target_exponentials - 1)) - target_logits, exponentials
