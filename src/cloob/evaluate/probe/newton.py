"""The last digits of a multinomial logistic regression: Newton's method, its steps by conjugate gradients.

F and its gradient are computed in float64, once a step. The products with the Hessian, of which a step takes
up to some hundred, are made in float32: an error of a step is put right by the next one. Many GPUs compute in
float64 at 1/32 or 1/64 of their speed.
"""

import torch
from torch import Tensor

from cloob.evaluate.probe.lbfgs import dot
from cloob.evaluate.probe.problem import Place, Problem

_STEPS = 10  # at most: from where L-BFGS in float32 ends, 2 or 3 are enough
_PRODUCTS = 500  # with the Hessian, at most, in one step
_EXACT = 1e-6  # share of the error (in the norm of the Hessian, squared) that a step may leave


def newton(problem: Problem, point: Tensor, strength: float, tolerance: float) -> Tensor:
    """A point (d + 1, K) near the given one where F is lower, if all goes well by `tolerance` of F's minimum.

    It ends early, without a message, where a step does not lower F: L-BFGS goes on from there, and judges.
    """
    here = problem.evaluate(point, strength, torch.float64)
    for _ in range(_STEPS):
        gained = max(problem.value_without_weights - here.value, 0)
        wanted = tolerance * min(here.value, gained)
        if dot(here.gradient, here.gradient * here.preconditioner) / 2 <= wanted:
            break
        step = _step(problem, here, strength, wanted)
        there = problem.evaluate(here.point + step, strength, torch.float64)
        if not there.value < here.value:
            break
        here = there
    return here.point


def _step(problem: Problem, here: Place, strength: float, wanted: float) -> Tensor:
    """−(Hessian)⁻¹ · gradient, by preconditioned conjugate gradients (Nocedal and Wright, algorithm 5.3)."""
    times_hessian = problem.hessian(here.point, strength)
    step, rest = torch.zeros_like(here.gradient), -here.gradient
    direction = scaled = rest * here.preconditioner
    error = first = dot(rest, scaled)
    for _ in range(_PRODUCTS):
        product = times_hessian(direction)
        curvature = dot(direction, product)
        if not curvature > 0:  # rounding
            break
        step = step + error / curvature * direction
        rest = rest - error / curvature * product
        scaled = rest * here.preconditioner
        before, error = error, dot(rest, scaled)
        if error <= max(_EXACT * first, wanted / 100):
            break
        direction = scaled + error / before * direction
    return step
