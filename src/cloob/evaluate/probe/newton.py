"""Newton-CG for the final digits of a multinomial logistic regression (see README.md).

F and its gradient are evaluated in float64, once per step. The Hessian-vector products, up to a few hundred
per step, are computed in float32: the next step corrects their errors. On many GPUs float64 runs at 1/32 or
1/64 of the speed of float32.
"""

import torch
from torch import Tensor

from cloob.evaluate.probe.lbfgs import dot
from cloob.evaluate.probe.problem import Evaluation, Problem

_MAX_STEPS = 10  # 2 or 3 suffice from the point where L-BFGS in float32 stops
_MAX_PRODUCTS = 500  # Hessian-vector products per step
_RELATIVE_RESIDUAL = 1e-6  # of the conjugate gradients: squared residual norm, in the preconditioner's metric


def newton(problem: Problem, point: Tensor, strength: float, tolerance: float) -> Tensor:
    """Improve `point` (d + 1, K) until F is estimated to be within `tolerance` (relative) of its minimum.

    Stops early, without a message, if a step does not decrease F: L-BFGS continues from there and decides
    about convergence.
    """
    current = problem.evaluate(point, strength, torch.float64)
    for _ in range(_MAX_STEPS):
        gain = max(problem.value_without_weights - current.value, 0)
        target = tolerance * min(current.value, gain)
        if dot(current.gradient, current.gradient * current.preconditioner) / 2 <= target:
            break
        step = _newton_step(problem, current, strength, target)
        candidate = problem.evaluate(current.point + step, strength, torch.float64)
        if not candidate.value < current.value:
            break
        current = candidate
    return current.point


def _newton_step(problem: Problem, current: Evaluation, strength: float, target: float) -> Tensor:
    """−(Hessian)⁻¹ · gradient by preconditioned conjugate gradients (Nocedal and Wright, algorithm 5.3)."""
    hessian_product = problem.hessian(current.point, strength)
    step, residual = torch.zeros_like(current.gradient), -current.gradient
    direction = preconditioned = residual * current.preconditioner
    error = initial_error = dot(residual, preconditioned)
    for _ in range(_MAX_PRODUCTS):
        product = hessian_product(direction)
        curvature = dot(direction, product)
        if not curvature > 0:  # rounding
            break
        step = step + error / curvature * direction
        residual = residual - error / curvature * product
        preconditioned = residual * current.preconditioner
        previous_error, error = error, dot(residual, preconditioned)
        if error <= max(_RELATIVE_RESIDUAL * initial_error, target / 100):
            break
        direction = preconditioned + error / previous_error * direction
    return step
