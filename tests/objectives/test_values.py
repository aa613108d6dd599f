"""The objectives' values and gradients are those of the paper's formulas."""

import pytest
import torch

from cloob.objectives.losses import contrastive_loss, hopfield_retrieval, info_loob, info_nce
from cloob.objectives.registry import OBJECTIVES
from tests.helpers import oracle


def gradients(loss, *inputs):
    return torch.autograd.grad(loss, inputs)


def assert_close(ours, theirs, relative):
    """Equal up to `relative` of the largest entry: small entries of a gradient are differences."""
    theirs = theirs.to(torch.float64)
    error = (ours.to(torch.float64) - theirs).abs().max()
    assert error <= relative * theirs.abs().max(), f"{error / theirs.abs().max():.2g} > {relative}"


@pytest.mark.parametrize("objective", OBJECTIVES)
@pytest.mark.parametrize("number", [64, 600])  # one tile; four, of unequal size
def test_loss_and_every_gradient_equal_the_formulas(pairs, objective, number):
    image, text = pairs(number)
    temperature = torch.tensor(30.0, requires_grad=True)
    beta = torch.tensor(8.0, requires_grad=True)
    inputs = [image, text, temperature] + ([beta] if OBJECTIVES[objective].hopfield else [])
    ours = contrastive_loss(image, text, objective=objective, inv_temperature=temperature, beta=beta)
    theirs = oracle.loss(image, text, objective, temperature.double(), beta.double())
    assert_close(ours, theirs, 1e-6)
    for mine, expected in zip(gradients(ours, *inputs), gradients(theirs, *inputs), strict=True):
        assert_close(mine, expected, 1e-5)


@pytest.mark.parametrize("term", ["info_nce", "info_loob"])
def test_one_term_equals_its_formula(pairs, term):
    anchors, positives = pairs(50)
    ours = {"info_nce": info_nce, "info_loob": info_loob}[term](anchors, positives, 30.0)
    assert_close(ours, getattr(oracle, term)(anchors, positives, 30.0), 1e-6)


def test_retrieval_equals_its_formula(pairs):
    state, stored = pairs(50)
    stored = stored[:20]
    assert_close(hopfield_retrieval(state, stored, 8.0), oracle.retrieval(state, stored, 8.0), 1e-6)
