"""The objectives at the edges of what they may be given."""

import math

import pytest
import torch

from cloob.objectives import losses as module
from cloob.objectives import tiling as tiles
from cloob.objectives.losses import contrastive_loss, hopfield_retrieval, info_loob, info_nce
from cloob.objectives.registry import OBJECTIVES
from tests.helpers import oracle

every_objective = pytest.mark.parametrize("objective", OBJECTIVES)


@pytest.fixture(params=["one tile", "tiles"])
def tiling(request, monkeypatch):
    """Small batches, in one tile and in tiles of unequal size."""
    if request.param == "tiles":
        monkeypatch.setattr(tiles, "TILE", {"cpu": 4})
        monkeypatch.setattr(module, "LOGITS_TILE", 5)


def assert_same(pairs, objective, *, inv_temperature=30.0, beta=8.0):
    """Loss and gradients are the formulas', as far as float32 has digits.

    A loss or gradient next to nothing is a difference of numbers of the size of the logits (of their
    slopes); scores up to β are rounded to multiples of β·2⁻²⁴.
    """
    image, text = pairs
    scales = {"inv_temperature": inv_temperature, "beta": beta}
    ours = contrastive_loss(image, text, objective=objective, **scales)
    theirs = oracle.loss(image, text, objective, **scales)
    unit = 1.0 if OBJECTIVES[objective].loss == "infoloob" else inv_temperature
    assert abs(ours.item() - theirs.item()) <= 1e-6 * abs(theirs.item()) + unit * 2**-24
    for mine, expected in zip(
        torch.autograd.grad(ours, (image, text)), torch.autograd.grad(theirs, (image, text)), strict=True
    ):
        allowed = (1e-5 + beta * 2**-21) * max(expected.abs().max(), unit / len(image))
        assert (mine - expected).abs().max() <= allowed


@every_objective
def test_gradients_pass_gradcheck(pairs, tiling, objective):
    image, text = pairs(9, width=5, dtype=torch.float64)
    scalars = [torch.tensor(value, dtype=torch.float64, requires_grad=True) for value in (3.0, 2.0)]

    def loss(image, text, inv_temperature, beta):
        return contrastive_loss(image, text, objective=objective, inv_temperature=inv_temperature, beta=beta)

    assert torch.autograd.gradcheck(loss, (image, text, *scalars))


def test_retrieval_passes_gradcheck_from_others_and_from_itself(pairs, tiling):
    state, stored = pairs(9, width=5, dtype=torch.float64)
    beta = torch.tensor(2.0, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(hopfield_retrieval, (state, stored, beta))
    assert torch.autograd.gradcheck(lambda state, beta: hopfield_retrieval(state, state, beta), (state, beta))


@pytest.mark.parametrize("term", [info_nce, info_loob])
def test_terms_pass_gradcheck(pairs, tiling, term):
    scale = torch.tensor(3.0, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(term, (*pairs(9, width=5, dtype=torch.float64), scale))


@every_objective
@pytest.mark.parametrize("beta", [0.0, 1.0, 20.0, 60.0, 200.0])
@pytest.mark.parametrize("inv_temperature", [1.0, 30.0, 100.0])
def test_no_beta_and_no_temperature_overflows(pairs, tiling, objective, beta, inv_temperature):
    assert_same(pairs(13), objective, inv_temperature=inv_temperature, beta=beta)


@every_objective
def test_large_beta_with_patterns_that_oppose_each_other(tiling, objective):
    # The largest score of a row is 0 or less: a fixed bound of β would underflow every weight.
    image, text = torch.eye(12).requires_grad_(), (-torch.eye(12)).requires_grad_()
    assert_same((image, text), objective, beta=200.0)


@every_objective
def test_two_pairs_are_enough(pairs, objective):
    assert_same(pairs(2), objective)


@every_objective
def test_one_pair_is_refused_with_the_reason(pairs, objective):
    with pytest.raises(ValueError, match="at least 2 pairs"):
        contrastive_loss(*pairs(1), objective=objective, inv_temperature=30.0, beta=8.0)


@every_objective
def test_pairs_that_occur_twice_are_negatives_of_each_other(pairs, tiling, objective):
    twice = [torch.cat([part.detach()] * 2).requires_grad_() for part in pairs(6)]
    assert_same(twice, objective)
    if objective == "clip":
        loss = contrastive_loss(*twice, objective=objective, inv_temperature=100.0)
        assert loss.item() == pytest.approx(math.log(2), rel=1e-5)


@every_objective
def test_all_patterns_equal(tiling, objective):
    image, text = torch.full((2, 9, 4), 0.5).requires_grad_().unbind()
    assert_same((image, text), objective)


@every_objective
def test_an_image_may_be_its_own_text(pairs, tiling, objective):
    scales = {"objective": objective, "inv_temperature": 30.0, "beta": 8.0}
    image, _ = pairs(13)
    itself = contrastive_loss(image, image, **scales)
    again = image.detach().clone().requires_grad_()
    expected = contrastive_loss(image, again, **scales)
    assert itself.item() == pytest.approx(expected.item(), rel=1e-6)
    mine = torch.autograd.grad(itself, image)[0]
    torch.testing.assert_close(mine, sum(torch.autograd.grad(expected, (image, again))))


@every_objective
def test_half_precision_is_computed_in_float32(pairs, tiling, objective):
    image, text = (part.detach().bfloat16() for part in pairs(13))
    scales = {"objective": objective, "inv_temperature": 30.0, "beta": 8.0}
    inputs = image.requires_grad_(), text.requires_grad_()
    loss = contrastive_loss(*inputs, **scales)
    exact = image.detach().float().requires_grad_(), text.detach().float().requires_grad_()
    expected = contrastive_loss(*exact, **scales)
    assert loss.dtype == torch.float32
    assert loss == expected
    for mine, theirs in zip(
        torch.autograd.grad(loss, inputs), torch.autograd.grad(expected, exact), strict=True
    ):
        assert torch.equal(mine, theirs.bfloat16())


@every_objective
def test_autocast_does_not_reach_the_products(pairs, tiling, objective):
    image, text = pairs(13)
    scales = {"inv_temperature": 30.0, "beta": 8.0}
    with torch.autocast("cpu", torch.bfloat16):
        inside = contrastive_loss(image, text, objective=objective, **scales)
    outside = contrastive_loss(image, text, objective=objective, **scales)
    assert inside == outside
    for mine, expected in zip(
        torch.autograd.grad(inside, (image, text)), torch.autograd.grad(outside, (image, text)), strict=True
    ):
        assert torch.equal(mine, expected)


@every_objective
def test_memory_layout_does_not_matter(pairs, tiling, objective):
    image, text = pairs(13)
    scales = {"objective": objective, "inv_temperature": 30.0, "beta": 8.0}
    strided = image.detach().T.contiguous().T.requires_grad_()
    wide = torch.cat([text.detach(), text.detach()], dim=1).requires_grad_()
    loss = contrastive_loss(strided, wide[:, : text.shape[1]], **scales)
    expected = contrastive_loss(image, text, **scales)
    assert loss == expected
    mine = torch.autograd.grad(loss, (strided, wide))
    theirs = torch.autograd.grad(expected, (image, text))
    assert torch.equal(mine[0], theirs[0])
    assert torch.equal(mine[1][:, : text.shape[1]], theirs[1])


@every_objective
def test_same_batch_same_bits(pairs, objective):
    def results():
        image, text = pairs(700)
        loss = contrastive_loss(image, text, objective=objective, inv_temperature=30.0, beta=8.0)
        return loss, *torch.autograd.grad(loss, (image, text))

    assert all(torch.equal(once, again) for once, again in zip(results(), results(), strict=True))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"objective": "infonce"}, "objective 'infonce' is unknown; choose from clip, "),
        ({"objective": "cloob"}, "needs beta"),
        ({"objective": "clip", "text": torch.zeros(8, 24)}, r"image \(9, 24\) and text \(8, 24\)"),
    ],
)
def test_arguments_that_make_no_sense_are_refused(pairs, arguments, message):
    image, text = pairs(9)
    with pytest.raises(ValueError, match=message):
        contrastive_loss(**{"image": image, "text": text, "inv_temperature": 30.0} | arguments)
