"""The objective of a multinomial logistic regression: its value, gradient and preconditioner at a point."""

from collections.abc import Callable, Iterable
from typing import NamedTuple

import torch
from torch import Tensor

# Logits at once. On a CPU 256 × 1 024 rows × 100 classes × 4 bytes still lie in its cache; on a GPU 1 GB.
_LOGITS = {"cpu": 2**18, "cuda": 2**28}
_KEPT = 2**28  # probabilities that are kept, 1 GB; more are computed anew for every product with the Hessian


class Place(NamedTuple):
    """A point (d + 1, K), F there, its gradient, and the preconditioner for it."""

    point: Tensor
    value: float
    gradient: Tensor
    preconditioner: Tensor


class Problem:
    """F and its gradient at a point (d + 1, K): the weights in the eigenbasis of the scatter, then the bias.

    The bias is that of centerd features: the scatter couples it with nothing.
    """

    def __init__(self, features: Tensor, labels: Tensor, counts: Tensor) -> None:
        self.features, self.labels, self.counts = features, labels[:, None], counts
        self.evaluations = 0
        self.classes = len(counts)
        frequencies = (counts / counts.sum()).double()
        self.value_without_weights = -(counts * frequencies.log()).sum().item()
        self.rows = max(256, _LOGITS[features.device.type] // self.classes)
        double = {"dtype": torch.float64, "device": features.device}
        # In float64: the square of a small feature would drown beside that of a large one.
        total, gram = torch.zeros(features.shape[1], **double), torch.zeros(features.shape[1], 1, **double)
        for chunk in features.split(self.rows):
            exact = chunk.double()
            total, gram = total + exact.sum(0), gram + exact.T @ exact
        scatter = gram - total[:, None] * (total / len(features))
        eigenvalues, basis = torch.linalg.eigh(scatter)
        self.mean, self.basis = total / len(features), basis
        # What c_k is multiplied by, and what λ is: of the bias n and nothing.
        self.scatter = torch.cat([eigenvalues.clamp(min=0), eigenvalues.new_tensor([len(features)])])[:, None]
        self.largest = eigenvalues[-1].item()
        self.penalised = torch.ones(len(self.scatter), 1, **double)
        self.penalised[-1] = 0

    def start(self) -> Tensor:
        """No weights, and the bias that gives the frequencies of the classes: 0 where all are alike."""
        point = self.scatter.new_zeros(len(self.scatter), self.classes)
        logarithms = self.counts.double().log()
        point[-1] = logarithms - logarithms.mean()
        return point

    def inward(self, weights: Tensor, bias: Tensor) -> Tensor:
        return torch.cat([self.basis.T @ weights, (bias + self.mean @ weights)[None]])

    def outward(self, point: Tensor) -> tuple[Tensor, Tensor]:
        weights = self.basis @ point[:-1]
        return weights, point[-1] - self.mean @ weights

    def evaluate(self, point: Tensor, strength: float, precision: torch.dtype) -> Place:
        """F and its gradient; the products with the features in this precision."""
        self.evaluations += 1
        weights, bias = (each.to(precision) for each in self.outward(point))
        gradient = torch.zeros_like(weights)
        loss = self.scatter.new_zeros(())
        of_bias, curvature = self.scatter.new_zeros(self.classes), self.scatter.new_zeros(self.classes)
        for chunk, labels in zip(self.features.split(self.rows), self.labels.split(self.rows), strict=True):
            images = chunk.to(precision)
            losses, residuals = _residuals(torch.addmm(bias, images, weights), labels)
            loss += losses.double().sum()
            gradient.addmm_(images.T, residuals)
            of_bias += residuals.sum(0)
            curvature += residuals.abs_().sum(0) - residuals.square_().sum(0)  # Σ p(1 − p), of y's too
        of_weights = gradient.double() - torch.outer(self.mean, of_bias)
        gradient = torch.cat([self.basis.T @ of_weights + strength * point[:-1], of_bias[None]])
        value = loss + strength / 2 * point[:-1].square().sum()
        # A class that is told apart without doubt keeps a little curvature.
        share = (curvature / len(self.features)).clamp(min=1e-12)
        preconditioner = 1 / (self.scatter * share + strength * self.penalised)
        return Place(point, value.item(), gradient, preconditioner)

    def hessian(self, point: Tensor, strength: float) -> Callable[[Tensor], Tensor]:
        """The product of the Hessian at a point with a direction (d + 1, K), in float32 within."""
        weights, bias = (each.float() for each in self.outward(point))

        def all_probabilities() -> Iterable[Tensor]:
            for chunk in self.features.split(self.rows):
                yield torch.addmm(bias, chunk.float(), weights).softmax(dim=1)

        kept = list(all_probabilities()) if len(self.features) * self.classes <= _KEPT else None

        def product(direction: Tensor) -> Tensor:
            of_weights, of_bias = (each.float() for each in self.outward(direction))
            gradient, bias_gradient = torch.zeros_like(of_weights), self.scatter.new_zeros(self.classes)
            for chunk, probabilities in zip(
                self.features.split(self.rows), kept or all_probabilities(), strict=True
            ):
                images = chunk.float()
                changes = torch.addmm(of_bias, images, of_weights).mul_(probabilities)
                changes -= probabilities * changes.sum(dim=1, keepdim=True)
                gradient.addmm_(images.T, changes)
                bias_gradient += changes.sum(0)
            centerd = gradient.double() - torch.outer(self.mean, bias_gradient)
            return torch.cat([self.basis.T @ centerd + strength * direction[:-1], bias_gradient[None]])

        return product

    def distance_at_most(self, here: Place, strength: float) -> float:
        """How far F is above its minimum at most; of the biases, which λ does not bind, an estimate."""
        of_weights, of_bias = here.gradient[:-1].square(), here.gradient[-1].square()
        return (of_weights.sum() / strength + (of_bias * here.preconditioner[-1]).sum()).item() / 2


def _residuals(logits: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """Cross-entropies (n, 1) and softmax − onehot (n, K), in the place of `logits`.

    Both keep their relative precision where an image is all but certain (1 − p is never formed): with weak
    regularisation F is a sum of such images.
    """
    logits -= logits.amax(dim=1, keepdim=True)
    own = logits.gather(1, labels)
    exponentials = logits.exp_()
    of_own = exponentials.gather(1, labels)
    exponentials.scatter_(1, labels, 0.0)
    others = exponentials.sum(dim=1, keepdim=True)
    total = others + of_own
    exponentials /= total
    exponentials.scatter_(1, labels, -others / total)
    return torch.log1p(others + (of_own - 1)) - own, exponentials
