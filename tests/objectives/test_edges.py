"""The objectives in edge cases: extreme scales, degenerate batches, dtypes, memory layouts, invalid input."""

import math

import pytest
import torch

from cloob.objectives import fused, tiling
from cloob.objectives.hopfield import hopfield_retrieval
from cloob.objectives.losses import contrastive_loss, info_loob, info_nce
from cloob.objectives.registry import OBJECTIVES
from tests.helpers import oracle

every_objective = pytest.mark.parametrize("objective", OBJECTIVES)
SCALES = {"inv_temperature": 30.0, "beta": 8.0}


@pytest.fixture(params=["one tile", "several tiles"])
def tile_layout(request, monkeypatch):
    """Compute small batches in one tile, and in several tiles of unequal size."""
    if request.param == "several tiles":
        monkeypatch.setattr(tiling, "TILE_SIZE", {"cpu": 4})
        monkeypatch.setattr(fused, "LOGITS_TILE_SIZE", 5)


def assert_equals_formulas(pairs, objective, *, inv_temperature=30.0, beta=8.0):
    """Loss and gradients equal the formulas within the precision of float32.

    A loss or gradient near 0 is a difference of numbers of the size of the logits (of their slopes); scores
    up to β are rounded to multiples of β·2⁻²⁴.
    """
    image, text = pairs
    scales = {"inv_temperature": inv_temperature, "beta": beta}
    loss = contrastive_loss(image, text, objective=objective, **scales)
    expected = oracle.loss(image, text, objective, **scales)
    unit = 1.0 if OBJECTIVES[objective].loss == "infoloob" else inv_temperature
    assert abs(loss.item() - expected.item()) <= 1e-6 * abs(expected.item()) + unit * 2**-24
    for gradient, expected_gradient in zip(
        torch.autograd.grad(loss, (image, text)), torch.autograd.grad(expected, (image, text)), strict=True
    ):
        tolerance = (1e-5 + beta * 2**-21) * max(expected_gradient.abs().max(), unit / len(image))
        assert (gradient - expected_gradient).abs().max() <= tolerance


@every_objective
def test_loss_passes_gradcheck(pairs, tile_layout, objective):
    image, text = pairs(9, width=5, dtype=torch.float64)
    scalars = [torch.tensor(value, dtype=torch.float64, requires_grad=True) for value in (3.0, 2.0)]

    def loss(image, text, inv_temperature, beta):
        return contrastive_loss(image, text, objective=objective, inv_temperature=inv_temperature, beta=beta)

    assert torch.autograd.gradcheck(loss, (image, text, *scalars))


def test_retrieval_and_self_retrieval_pass_gradcheck(pairs, tile_layout):
    state, stored = pairs(9, width=5, dtype=torch.float64)
    beta = torch.tensor(2.0, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(hopfield_retrieval, (state, stored, beta))
    assert torch.autograd.gradcheck(lambda state, beta: hopfield_retrieval(state, state, beta), (state, beta))


@pytest.mark.parametrize("one_sided_loss", [info_nce, info_loob])
def test_one_sided_losses_pass_gradcheck(pairs, tile_layout, one_sided_loss):
    inv_temperature = torch.tensor(3.0, dtype=torch.float64, requires_grad=True)
    inputs = (*pairs(9, width=5, dtype=torch.float64), inv_temperature)
    assert torch.autograd.gradcheck(one_sided_loss, inputs)


@every_objective
@pytest.mark.parametrize("beta", [0.0, 1.0, 20.0, 60.0, 200.0])
@pytest.mark.parametrize("inv_temperature", [1.0, 30.0, 100.0])
def test_no_beta_and_no_temperature_overflows(pairs, tile_layout, objective, beta, inv_temperature):
    assert_equals_formulas(pairs(13), objective, inv_temperature=inv_temperature, beta=beta)


@every_objective
def test_large_beta_with_opposite_patterns_does_not_underflow(tile_layout, objective):
    # The largest score of a row is at most 0: subtracting a fixed bound of β would underflow every weight.
    image, text = torch.eye(12).requires_grad_(), (-torch.eye(12)).requires_grad_()
    assert_equals_formulas((image, text), objective, beta=200.0)


@every_objective
def test_two_pairs_are_enough(pairs, objective):
    assert_equals_formulas(pairs(2), objective)


@every_objective
def test_a_single_pair_is_rejected(pairs, objective):
    with pytest.raises(ValueError, match="at least 2 pairs"):
        contrastive_loss(*pairs(1), objective=objective, **SCALES)


@every_objective
def test_duplicate_pairs_are_negatives_of_each_other(pairs, tile_layout, objective):
    duplicated = [torch.cat([part.detach()] * 2).requires_grad_() for part in pairs(6)]
    assert_equals_formulas(duplicated, objective)
    if objective == "clip":
        loss = contrastive_loss(*duplicated, objective=objective, inv_temperature=100.0)
        assert loss.item() == pytest.approx(math.log(2), rel=1e-5)


@every_objective
def test_all_patterns_may_be_equal(tile_layout, objective):
    image, text = torch.full((2, 9, 4), 0.5).requires_grad_().unbind()
    assert_equals_formulas((image, text), objective)


@every_objective
def test_image_and_text_may_be_the_same_tensor(pairs, tile_layout, objective):
    image, _ = pairs(13)
    loss = contrastive_loss(image, image, objective=objective, **SCALES)
    copy = image.detach().clone().requires_grad_()
    expected = contrastive_loss(image, copy, objective=objective, **SCALES)
    assert loss.item() == pytest.approx(expected.item(), rel=1e-6)
    [gradient] = torch.autograd.grad(loss, image)
    torch.testing.assert_close(gradient, sum(torch.autograd.grad(expected, (image, copy))))


@every_objective
def test_half_precision_is_computed_in_float32(pairs, tile_layout, objective):
    half = [part.detach().bfloat16() for part in pairs(13)]
    single = [part.float().requires_grad_() for part in half]
    half = [part.requires_grad_() for part in half]
    loss = contrastive_loss(*half, objective=objective, **SCALES)
    expected = contrastive_loss(*single, objective=objective, **SCALES)
    assert loss.dtype == torch.float32
    assert loss == expected
    for gradient, expected_gradient in zip(
        torch.autograd.grad(loss, half), torch.autograd.grad(expected, single), strict=True
    ):
        assert torch.equal(gradient, expected_gradient.bfloat16())


@every_objective
def test_autocast_does_not_affect_the_loss(pairs, tile_layout, objective):
    image, text = pairs(13)
    with torch.autocast("cpu", torch.bfloat16):
        under_autocast = contrastive_loss(image, text, objective=objective, **SCALES)
    expected = contrastive_loss(image, text, objective=objective, **SCALES)
    assert under_autocast == expected
    for gradient, expected_gradient in zip(
        torch.autograd.grad(under_autocast, (image, text)),
        torch.autograd.grad(expected, (image, text)),
        strict=True,
    ):
        assert torch.equal(gradient, expected_gradient)


@every_objective
def test_memory_layout_does_not_matter(pairs, tile_layout, objective):
    image, text = pairs(13)
    strided = image.detach().T.contiguous().T.requires_grad_()
    wide = torch.cat([text.detach(), text.detach()], dim=1).requires_grad_()
    loss = contrastive_loss(strided, wide[:, : text.shape[1]], objective=objective, **SCALES)
    expected = contrastive_loss(image, text, objective=objective, **SCALES)
    assert loss == expected
    grad_strided, grad_wide = torch.autograd.grad(loss, (strided, wide))
    grad_image, grad_text = torch.autograd.grad(expected, (image, text))
    assert torch.equal(grad_strided, grad_image)
    assert torch.equal(grad_wide[:, : text.shape[1]], grad_text)


@every_objective
def test_repeated_computation_is_bit_identical(pairs, objective):
    def loss_and_gradients():
        image, text = pairs(700)
        loss = contrastive_loss(image, text, objective=objective, **SCALES)
        return loss, *torch.autograd.grad(loss, (image, text))

    assert all(torch.equal(a, b) for a, b in zip(loss_and_gradients(), loss_and_gradients(), strict=True))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"objective": "infonce"}, "objective 'infonce' is unknown; choose from clip, "),
        ({"objective": "cloob"}, "needs beta"),
        ({"objective": "clip", "text": torch.zeros(8, 24)}, r"image \(9, 24\) and text \(8, 24\)"),
    ],
)
def test_invalid_arguments_are_rejected(pairs, arguments, message):
    image, text = pairs(9)
    with pytest.raises(ValueError, match=message):
        contrastive_loss(**{"image": image, "text": text, "inv_temperature": 30.0} | arguments)
