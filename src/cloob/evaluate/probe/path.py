"""Multinomial logistic regression for a whole sweep of L2 strengths, by preconditioned L-BFGS.

The objective of strength λ, for features x_i (n, d), labels y_i, weights W (d, K) and bias b (K,), is the sum

    F(W, b) = Σ_i −ln softmax(x_i W + b)[y_i] + λ/2 · ‖W‖²

with the bias unpenalised: scikit-learn's `LogisticRegression(C=1/λ)`, whose objective is C · F.

What makes a sweep cheap. One evaluation of F and its gradient is two products with the features; all else is
small. L-BFGS starts from H0 = (c_k·S + λI)⁻¹ for the weights of class k, where S is the centerd scatter of
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
from itertools import pairwise

import torch
from torch import Tensor

from cloob.evaluate.probe.lbfgs import Memory, dot
from cloob.evaluate.probe.newton import newton
from cloob.evaluate.probe.problem import Place, Problem

TOLERANCE = 2e-7  # estimated distance of F to its minimum, relative
_CERTIFIED = 500  # × tolerance: what that distance may be at most, or else
_IDLE = 100  # iterations have to gain less than `tolerance` together
_TOLD = 1000  # × rounding: so much F has to have gained on no weights, to tell float32's gain from noise
MAX_ITERATIONS = 1000  # per strength, as in CLIP's protocol


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
    l2_num: Sequence[float],
    start: Fit | None = None,
    tolerance: float = TOLERANCE,
    max_iterations: int = MAX_ITERATIONS,
    precision: torch.dtype | None = None,
) -> Iterator[Fit]:
    """Fit every strength, the strongest first; all on the device of `features` (n, d).

    `labels` (n,) are 0 … K − 1, each of them present (the bias of an absent class has no optimum). The first
    strength starts from `start`, where that helps. `precision` is that of the products with the features at
    first, by default that of the features. Where it is float64, Newton's method goes first, and L-BFGS
    starts from where that ends.

    A fit has converged when two things hold. Half the squared Newton decrement, taken with L-BFGS's own
    inverse Hessian, is at most `tolerance` times F, and times what F gained on no weights at all: that is
    little where λ is strong, but decides the accuracy. Because that is an estimate, strong convexity has to
    bound the distance to the minimum, by ‖gradient‖²/2λ, to 1e-4 of F at the default tolerance; or, since
    that may be out of reach where λ is weak, 100 float64 iterations gained less than it.

    Raises ValueError for what has no fit.
    """
    strengths = sorted(set(l2_num), reverse=True)
    counts = torch.bincount(labels)
    if not strengths or strengths[-1] <= 0 or len(counts) < 2 or counts.min() == 0:
        raise ValueError("want positive strengths, two classes or more, and images of each class")
    problem, memory, solved = Problem(features, labels, counts), Memory(), []
    # Where the penalty outweighs all data, F says little of biases that are off: no weights start best.
    if start is None or strengths[0] > problem.largest:
        point, path = problem.start(), _stepping_stones(strengths, max(problem.largest, strengths[0]))
    else:
        point, path = problem.inward(start.weights, start.bias), _stepping_stones(strengths, strengths[0])
    for position, strength in enumerate(path):
        if position:
            memory.change_strength(strength - path[position - 1], problem.penalised)
        if position > 1:
            before, last, now = (math.log(each) for each in path[position - 2 : position + 1])
            point = point + (now - last) / (last - before) * (point - solved[-2])
        evaluations = problem.evaluations
        if precision == torch.float64:
            point = newton(problem, point, strength, tolerance)
        found, iterations, converged = _minimise(
            problem, point, strength, memory, tolerance, max_iterations, precision or features.dtype
        )
        point = found.point
        solved = [*solved[-1:], point]
        if strength not in strengths:
            continue
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


def _stepping_stones(strengths: Sequence[float], strongest: float) -> list[float]:
    """The strengths, strongest first, and enough between them that none is a leap of decades."""
    path: list[float] = []
    for last, strength in pairwise([strongest, *strengths]):
        count = math.ceil(math.log10(last / strength) - 0.01)
        path += [last * (strength / last) ** (each / count) for each in range(1, count)]
        path.append(strength)
    return path


def _minimise(
    problem: Problem,
    point: Tensor,
    strength: float,
    memory: Memory,
    tolerance: float,
    max_iterations: int,
    precision: torch.dtype,
) -> tuple[Place, int, bool]:
    """Where F is least, the iterations that it took, and whether they converged."""
    values: list[float] = []
    here = problem.evaluate(point, strength, precision)
    for iteration in range(max_iterations + 1):
        values.append(here.value)
        rounding = torch.finfo(precision).eps * here.value
        direction = memory.direction(here.gradient, here.preconditioner)
        slope = dot(here.gradient, direction)
        gained = max(problem.value_without_weights - here.value, rounding)
        idle = iteration >= _IDLE and values[-1 - _IDLE] - here.value <= tolerance * here.value
        exact = precision == torch.float64
        converged = -slope / 2 <= tolerance * min(here.value, gained) and (
            problem.distance_at_most(here, strength) <= _CERTIFIED * tolerance * here.value
            or (exact and idle)
        )
        # Rounding hides what little was gained, or that nothing is any more.
        blind = not exact and (gained < _TOLD * rounding if converged else idle)
        # Float64 shows no further gain: a smaller tolerance than that is out of reach.
        stalled = exact and iteration >= _IDLE and values[-1 - _IDLE] - here.value <= rounding
        if iteration == max_iterations or stalled or (converged and not blind):
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
    problem: Problem,
    here: Place,
    direction: Tensor,
    slope: float,
    strength: float,
    precision: torch.dtype,
) -> Place | None:
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
