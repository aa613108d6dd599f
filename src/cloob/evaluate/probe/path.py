"""Multinomial logistic regression along a path of L2 strengths, by preconditioned L-BFGS.

For features x_i (n, d), labels y_i, weights W (d, K) and bias b (K,), the objective for the strength λ is

    F(W, b) = Σ_i −ln softmax(x_i W + b)[y_i] + λ/2 · ‖W‖²

The bias is not penalized. scikit-learn's `LogisticRegression(C=1/λ)` minimizes C · F. README.md in this
folder derives the preconditioner, the warm start, the convergence test and the final Newton steps.

Only products with the features use the features' precision; everything else is float64. Where λ is so weak
that float32 products stop short of the minimum, the path continues with float64 products.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

import torch
from torch import Tensor

from cloob.evaluate.probe.lbfgs import CurvaturePairs, dot
from cloob.evaluate.probe.newton import newton
from cloob.evaluate.probe.problem import Evaluation, Problem

TOLERANCE = 2e-7  # estimated suboptimality of F, relative
_BOUND_FACTOR = 500  # × tolerance: the limit for the guaranteed bound of the suboptimality
_STALL_ITERATIONS = 100  # stalled if this many iterations together decrease F by less than `tolerance`
# × rounding error: F has to be this much lower than without weights for float32 to resolve the decrease.
_RESOLVABLE = 1000
MAX_ITERATIONS = 1000  # per strength, as in CLIP's protocol


@dataclass(frozen=True)
class Fit:
    """The classifier for one L2 strength, in feature coordinates, in float64."""

    l2_strength: float
    weights: Tensor  # (d, K)
    bias: Tensor  # (K,)
    objective: float
    iterations: int
    evaluations: int
    converged: bool

    def logits(self, features: Tensor) -> Tensor:
        """(n, d) -> (n, K), in float64: for strong λ the logits differ by less than float32 resolves."""
        return torch.cat(list(self._logits_of_chunks(features)))

    def predictions(self, features: Tensor) -> Tensor:
        """(n, d) -> the class with the largest logit (n,), without the logits of all images in memory."""
        return torch.cat([logits.argmax(dim=1) for logits in self._logits_of_chunks(features)])

    def _logits_of_chunks(self, features: Tensor) -> Iterator[Tensor]:
        for rows in features.split(4096):
            yield torch.addmm(self.bias, rows.double(), self.weights)

    def expand_classes(self, present: Tensor, classes: int) -> "Fit":
        """Map the K classes to the labels `present` (K,) of `classes`; the others are never predicted."""
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
    precision: torch.dtype | None = None,
) -> Iterator[Fit]:
    """Fit all L2 strengths in decreasing order, on the device of `features` (n, d).

    `labels` (n,) are 0 … K − 1, and each class has images (the bias of a class without images diverges). The
    first strength is warm-started from `start` where that helps. `precision` is the initial precision of
    products with the features, by default that of the features; with float64, Newton-CG runs first and L-BFGS
    continues from its result.

    A fit has converged if two conditions are met:

    - Half the squared Newton decrement, estimated with the inverse Hessian of L-BFGS, is at most `tolerance`
      times F, and `tolerance` times the decrease of F relative to zero weights. (With strong λ that decrease
      is small, but it determines the accuracy.)
    - Because that is an estimate: strong convexity bounds the suboptimality by ‖gradient‖²/2λ, which is at
      most 1e-4 of F with the default tolerance. If this bound is out of reach because λ is weak, 100 float64
      iterations have decreased F by less than `tolerance`.

    Raises ValueError for input without a finite solution.
    """
    strengths = sorted(set(l2_strengths), reverse=True)
    counts = torch.bincount(labels)
    if not strengths or strengths[-1] <= 0 or len(counts) < 2 or counts.min() == 0:
        raise ValueError("positive L2 strengths, at least two classes and images of every class are required")
    problem, memory = Problem(features, labels, counts), CurvaturePairs()
    solutions: list[Tensor] = []
    # Where the penalty dominates the data, F is insensitive to errors in the bias: start from zero weights.
    if start is None or strengths[0] > problem.largest_eigenvalue:
        point = problem.initial_point()
        path = _fill_gaps(strengths, max(problem.largest_eigenvalue, strengths[0]))
    else:
        point, path = problem.to_eigenbasis(start.weights, start.bias), _fill_gaps(strengths, strengths[0])
    for index, strength in enumerate(path):
        if index:
            memory.shift_penalty(strength - path[index - 1], problem.penalty_mask)
        if index > 1:  # extrapolate the solutions linearly in ln λ
            older, previous, current = (math.log(value) for value in path[index - 2 : index + 1])
            point = point + (current - previous) / (previous - older) * (point - solutions[-2])
        evaluations = problem.evaluations
        if precision == torch.float64:
            point = newton(problem, point, strength, tolerance)
        solution, iterations, converged = _minimize(
            problem, point, strength, memory, tolerance, max_iterations, precision or features.dtype
        )
        point = solution.point
        solutions = [*solutions[-1:], point]
        if strength not in strengths:
            continue
        weights, bias = problem.from_eigenbasis(point)
        yield Fit(
            l2_strength=strength,
            weights=weights,
            bias=bias,
            objective=solution.value,
            iterations=iterations,
            evaluations=problem.evaluations - evaluations,
            converged=converged,
        )


def _fill_gaps(strengths: Sequence[float], strongest: float) -> list[float]:
    """The strengths in decreasing order, with intermediate ones so that no step exceeds a factor of 10."""
    path: list[float] = []
    for previous, strength in pairwise([strongest, *strengths]):
        count = math.ceil(math.log10(previous / strength) - 0.01)
        path += [previous * (strength / previous) ** (step / count) for step in range(1, count)]
        path.append(strength)
    return path


def _minimize(
    problem: Problem,
    point: Tensor,
    strength: float,
    memory: CurvaturePairs,
    tolerance: float,
    max_iterations: int,
    precision: torch.dtype,
) -> tuple[Evaluation, int, bool]:
    """Minimize F from `point`: the solution, the number of iterations, and whether they converged."""
    values: list[float] = []
    current = problem.evaluate(point, strength, precision)
    for iteration in range(max_iterations + 1):
        values.append(current.value)
        rounding = torch.finfo(precision).eps * current.value
        direction = memory.direction(current.gradient, current.preconditioner)
        slope = dot(current.gradient, direction)
        gain = max(problem.value_without_weights - current.value, rounding)
        has_history = iteration >= _STALL_ITERATIONS
        recent_gain = values[-1 - _STALL_ITERATIONS] - current.value if has_history else math.inf
        is_slow = recent_gain <= tolerance * current.value
        is_double = precision == torch.float64
        converged = -slope / 2 <= tolerance * min(current.value, gain) and (
            problem.max_suboptimality(current, strength) <= _BOUND_FACTOR * tolerance * current.value
            or (is_double and is_slow)
        )
        # Float32 cannot resolve the decrease so far, or no longer resolves any further decrease.
        needs_double = not is_double and (gain < _RESOLVABLE * rounding if converged else is_slow)
        # Float64 resolves no further decrease either: a smaller tolerance is out of reach.
        is_stalled = is_double and recent_gain <= rounding
        if iteration == max_iterations or is_stalled or (converged and not needs_double):
            break
        candidate = None
        if not needs_double:
            candidate = _line_search(problem, current, direction, slope, strength, precision)
        if candidate is not None:
            memory.add(candidate.point - current.point, candidate.gradient - current.gradient)
            current = candidate
        elif is_double and not memory.pairs:
            break  # no descent even along the preconditioned gradient
        else:
            memory.pairs = []  # distorted by rounding
            precision = torch.float64
            current = current if is_double else problem.evaluate(current.point, strength, precision)
    return current, iteration, converged


def _line_search(
    problem: Problem,
    current: Evaluation,
    direction: Tensor,
    slope: float,
    strength: float,
    precision: torch.dtype,
) -> Evaluation | None:
    """Backtracking line search with the Armijo condition, up to rounding; None if no step satisfies it."""
    length, rounding = 1.0, torch.finfo(precision).eps * current.value
    while length > 1e-6:
        candidate = problem.evaluate(current.point + length * direction, strength, precision)
        if candidate.value <= current.value + 1e-4 * length * slope + rounding:
            return candidate
        # Secant step: where the slope along the line would vanish if it were linear.
        new_slope = dot(candidate.gradient, direction)
        length *= min(max(slope / (slope - new_slope), 0.1), 0.7) if new_slope > slope else 0.5
    return None
