"""Multinomial logistic regression for a whole sweep of L2 strengths, by preconditioned L-BFGS.

The objective of strength λ, for features x_i (n, d), labels y_i, weights W (d, K) and bias b (K,), is the sum

    F(W, b) = Σ_i −ln softmax(x_i W + b)[y_i] + λ/2 · ‖W‖²

with the bias unpenalised: scikit-learn's `LogisticRegression(C=1/λ)`, whose objective is C · F.

What makes a sweep cheap. One evaluation of F and its gradient is two products with the features; all else is
small. L-BFGS starts from H0 = (c_k·S + λI)⁻¹ for the weights of class k, where S is the centred scatter of
the features and c_k the mean over images of p_ik (1 − p_ik): the diagonal blocks of the Hessian (bounded by
S/2, Böhning 1992), all images weighted alike. In the eigenbasis of S it is diagonal. It preconditions and
leaves F as it is. Strengths are solved from strong to weak; each starts where the last two solutions,
extrapolated in ln λ, point to, and takes over their curvature pairs (s, y), of which y depends on λ in a
known way: y + (λ' − λ)·s.

Only the products with the features are made in the features' precision; all else is float64. Where λ is so
weak that float32 products stop short of the minimum, the sweep goes on with float64 ones.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import torch
from torch import Tensor

from cloob.evaluate.lbfgs import Memory, dot

TOLERANCE = 2e-7  # estimated distance of F to its minimum, relative
_CERTIFIED = 500  # × tolerance: what that distance may be at most, or else
_IDLE = 20  # iterations have to gain less than `tolerance` together
_TOLD = 1000  # × rounding: so much F has to have gained on no weights, to tell float32's gain from noise
MAX_ITERATIONS = 1000  # per strength, as in CLIP's protocol
# Logits at once. On a CPU 256 × 1 024 rows × 100 classes × 4 bytes still lie in its cache; on a GPU 1 GB.
_LOGITS = {"cpu": 2**18, "cuda": 2**28}


@dataclass(frozen=True)
class Fit:
    """The classifier of one strength, in the coordinates of the features, in float64."""

    l2_strength: float
    weights: Tensor  # (d, K)
    bias: Tensor  # (K,)
    objective: float
    iterations: int
    evaluations: int
    converged: bool

    def logits(self, features: Tensor) -> Tensor:
        """(n, d) -> (n, K), in float64: where λ is strong they differ by less than float32 tells apart."""
        return torch.cat(
            [torch.addmm(self.bias, rows.double(), self.weights) for rows in features.split(4096)]
        )

    def among(self, present: Tensor, classes: int) -> "Fit":
        """The same, its classes being the labels `present` (K,) of `classes`; no other is predicted."""
        weights = self.weights.new_zeros(len(self.weights), classes)
        bias = self.bias.new_full((classes,), -math.inf)
        weights[:, present], bias[present] = self.weights, self.bias
        return replace(self, weights=weights, bias=bias)


def fit_path(
    features: Tensor,
    labels: Tensor,
    l2_strengths: Sequence[float],
    start: Fit | None = None,
    tolerance: float = TOLERANCE,
    max_iterations: int = MAX_ITERATIONS,
) -> Iterator[Fit]:
    """Fit every strength, the strongest first; all on the device of `features` (n, d).

    `labels` (n,) are 0 … K − 1, each of them present (the bias of an absent class has no optimum). The first
    strength starts from `start`. A fit has converged when two things hold. Half the squared Newton decrement,
    taken with L-BFGS's own inverse Hessian, is at most `tolerance` times F, and times what F gained on no
    weights at all: that is little where λ is strong, but decides the accuracy. Because that is an estimate,
    strong convexity has to bound the distance to the minimum, by ‖gradient‖²/2λ, to 1e-4 of F at the default
    tolerance; or, since rounding may forbid that where λ is weak, 20 iterations gained less than it.
    Raises ValueError for what has no fit.
    """
    strengths = sorted(set(l2_strengths), reverse=True)
    counts = torch.bincount(labels)
    if not strengths or strengths[-1] <= 0 or len(counts) < 2 or counts.min() == 0:
        raise ValueError("want positive strengths, two classes or more, and images of each class")
    problem, memory, solved = _Problem(features, labels, counts), Memory(), []
    point = problem.start() if start is None else problem.inward(start.weights, start.bias)
    for position, strength in enumerate(strengths):
        if position:
            memory.change_strength(strength - strengths[position - 1], problem.penalised)
        if position > 1:
            before, last, now = (math.log(each) for each in strengths[position - 2 : position + 1])
            point = point + (now - last) / (last - before) * (point - solved[-2])
        evaluations = problem.evaluations
        found, iterations, converged = _minimise(problem, point, strength, memory, tolerance, max_iterations)
        point = found.point
        solved = [*solved[-1:], point]
        weights, bias = problem.outward(point)
        yield Fit(
            l2_strength=strength,
            weights=weights,
            bias=bias,
            objective=found.value,
            iterations=iterations,
            evaluations=problem.evaluations - evaluations,
            converged=converged,
        )


class _Place(NamedTuple):
    """A point (d + 1, K), F there, its gradient, and the preconditioner for it."""

    point: Tensor
    value: float
    gradient: Tensor
    preconditioner: Tensor


class _Problem:
    """F and its gradient at a point (d + 1, K): the weights in the eigenbasis of the scatter, then the bias.

    The bias is that of centred features: the scatter couples it with nothing.
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

    def evaluate(self, point: Tensor, strength: float, precision: torch.dtype) -> _Place:
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
        return _Place(point, value.item(), gradient, preconditioner)

    def distance_at_most(self, here: _Place, strength: float) -> float:
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


def _minimise(
    problem: _Problem, point: Tensor, strength: float, memory: Memory, tolerance: float, max_iterations: int
) -> tuple[_Place, int, bool]:
    """Where F is least, the iterations that it took, and whether they converged."""
    precision, values = problem.features.dtype, []
    here = problem.evaluate(point, strength, precision)
    for iteration in range(max_iterations + 1):
        values.append(here.value)
        rounding = torch.finfo(precision).eps * here.value
        direction = memory.direction(here.gradient, here.preconditioner)
        slope = dot(here.gradient, direction)
        gained = max(problem.value_without_weights - here.value, rounding)
        idle = iteration >= _IDLE and values[-1 - _IDLE] - here.value <= tolerance * here.value
        converged = -slope / 2 <= tolerance * min(here.value, gained) and (
            idle or problem.distance_at_most(here, strength) <= _CERTIFIED * tolerance * here.value
        )
        exact = precision == torch.float64
        # Rounding hides what little was gained, or that nothing is any more.
        blind = not exact and (gained < _TOLD * rounding if converged else idle)
        if iteration == max_iterations or (converged and not blind):
            break
        found = None if blind else _search(problem, here, direction, slope, strength, precision)
        if found is not None:
            memory.add(found.point - here.point, found.gradient - here.gradient)
            here = found
        elif exact and not memory.pairs:
            break  # nothing below this
        else:
            memory.pairs = []  # rounding misled them
            precision = torch.float64
            here = here if exact else problem.evaluate(here.point, strength, precision)
    return here, iteration, converged


def _search(
    problem: _Problem,
    here: _Place,
    direction: Tensor,
    slope: float,
    strength: float,
    precision: torch.dtype,
) -> _Place | None:
    """The first place tried along `direction` where F is lower by a share of the slope, but for rounding."""
    length, rounding = 1.0, torch.finfo(precision).eps * here.value
    while length > 1e-6:
        there = problem.evaluate(here.point + length * direction, strength, precision)
        if there.value <= here.value + 1e-4 * length * slope + rounding:
            return there
        # Where the slope along the line vanishes, were it linear.
        new_slope = dot(there.gradient, direction)
        length *= min(max(slope / (slope - new_slope), 0.1), 0.7) if new_slope > slope else 0.5
    return None
