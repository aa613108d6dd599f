"""Saturation is the factor 1 − p between the gradients of InfoNCE and InfoLOOB."""

import numpy as np
import pytest
import torch
from scipy.special import softmax

from cloob.metrics.saturation import saturation
from cloob.objectives.registry import OBJECTIVES
from cloob.objectives.tiling import TILE_SIZE


def random_unit_rows(*shape, seed=0):
    rows = torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return rows / rows.norm(dim=1, keepdim=True)


def reference_saturation(image, text, objective, inv_temperature, beta):
    """Mean of 1 − p by the paper's formulas: U_x, U_y, V_x, V_y by softmax, then InfoNCE's softmax."""
    x, y = image.numpy(), text.numpy()

    def retrieve(states, stored):
        rows = softmax(beta * states @ stored.T, axis=1) @ stored
        return rows / np.linalg.norm(rows, axis=1, keepdims=True)

    pairs = [(x, y), (y, x)]
    if objective in ("infonce_hopfield", "cloob"):
        pairs = [(retrieve(x, x), retrieve(y, x)), (retrieve(y, y), retrieve(x, y))]
    return np.mean([1 - np.diag(softmax(inv_temperature * a @ b.T, axis=1)) for a, b in pairs])


@pytest.mark.parametrize("objective", OBJECTIVES)
@pytest.mark.parametrize("tile", [7, 512])
def test_saturation_is_the_mean_of_one_minus_p(objective, tile, monkeypatch):
    monkeypatch.setitem(TILE_SIZE, "cpu", tile)
    image = random_unit_rows(24, 8)
    text = torch.nn.functional.normalize(image + 0.5 * random_unit_rows(24, 8, seed=1), dim=1)
    measured = saturation(image, text, objective, 10.0, 4.0)
    assert measured.dtype == torch.float64
    expected = reference_saturation(image, text, objective, 10.0, 4.0)
    assert float(measured) == pytest.approx(expected, rel=1e-12)


def test_saturation_is_the_ratio_of_infonce_and_infoloob_gradients():
    """∂ InfoNCE / ∂ x_i = (1 − p_i) ∂ InfoLOOB / ∂ x_i where x is the anchor."""
    x, y = random_unit_rows(12, 8).requires_grad_(), random_unit_rows(12, 8, seed=1)
    logits = 10 * x @ y.T
    positives = logits.diagonal()
    negatives = logits.masked_fill(torch.eye(12, dtype=torch.bool), -torch.inf).logsumexp(1)
    (infonce,) = torch.autograd.grad((logits.logsumexp(1) - positives).sum(), x, retain_graph=True)
    (infoloob,) = torch.autograd.grad((negatives - positives).sum(), x)
    image_to_text = infonce.norm(dim=1) / infoloob.norm(dim=1)
    text_to_image = 1 - torch.softmax(10 * y @ x.detach().T, dim=1).diagonal()
    expected = float((image_to_text.mean() + text_to_image.mean()) / 2)
    assert float(saturation(x.detach(), y, "clip", 10.0, None)) == pytest.approx(expected, rel=1e-9)


def test_saturation_of_a_learned_batch_does_not_round_to_zero():
    rows = torch.eye(8)
    measured = float(saturation(rows, rows, "clip", 40.0, None))
    assert measured == pytest.approx(7 * np.exp(-40.0), rel=1e-5)


def test_hopfield_objectives_need_beta():
    rows = torch.eye(8)
    with pytest.raises(ValueError, match="needs beta"):
        saturation(rows, rows, "cloob", 40.0, None)
