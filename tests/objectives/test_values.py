"""The losses and their gradients equal the paper's formulas."""

import pytest
import torch

from cloob.objectives.hopfield import hopfield_retrieval
from cloob.objectives.losses import contrastive_loss, info_loob, info_nce
from cloob.objectives.registry import OBJECTIVES
from tests.helpers import oracle


def gradients(loss, *inputs):
    return torch.autograd.grad(loss, inputs)


def assert_close(actual, expected, relative):
    """Equal up to `relative` of the largest entry, because small entries of a gradient are differences."""
    expected = expected.to(torch.float64)
    error = (actual.to(torch.float64) - expected).abs().max()
    limit = relative * expected.abs().max()
    assert error <= limit, f"{error / expected.abs().max():.2g} > {relative}"


@pytest.mark.parametrize("objective", OBJECTIVES)
@pytest.mark.parametrize("number", [64, 600])  # one tile; four tiles of unequal size
def test_the_loss_and_every_gradient_equal_the_formulas(pairs, objective, number):
    image, text = pairs(number)
    temperature = torch.tensor(30.0, requires_grad=True)
    beta = torch.tensor(8.0, requires_grad=True)
    inputs = [image, text, temperature] + ([beta] if OBJECTIVES[objective].hopfield else [])
    actual = contrastive_loss(image, text, objective=objective, inv_temperature=temperature, beta=beta)
    expected = oracle.loss(image, text, objective, temperature.double(), beta.double())
    assert_close(actual, expected, 1e-6)
    for gradient, expected_gradient in zip(
        gradients(actual, *inputs), gradients(expected, *inputs), strict=True
    ):
        assert_close(gradient, expected_gradient, 1e-5)


@pytest.mark.parametrize(
    ("one_sided_loss", "formula"), [(info_nce, oracle.info_nce), (info_loob, oracle.info_loob)]
)
def test_a_one_sided_loss_equals_its_formula(pairs, one_sided_loss, formula):
    anchors, positives = pairs(50)
    assert_close(one_sided_loss(anchors, positives, 30.0), formula(anchors, positives, 30.0), 1e-6)


def test_hopfield_retrieval_equals_its_formula(pairs):
    state, stored = pairs(50)
    stored = stored[:20]
    assert_close(hopfield_retrieval(state, stored, 8.0), oracle.retrieval(state, stored, 8.0), 1e-6)
