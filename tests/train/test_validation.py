import numpy as np
import pytest
import torch
from scipy.special import softmax

from cloob.objectives.losses import OBJECTIVES
from cloob.train.validation import saturation


def normalized(*shape, seed=0):
    rows = torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return rows / rows.norm(dim=1, keepdim=True)


def by_the_formula(image, text, objective, inv_temperature, beta):
    """Mean 1 − p, as method.md writes it: U_x, U_y, V_x, V_y by softmax, then InfoNCE's softmax."""
    x, y = image.numpy(), text.numpy()

    def retrieved(states, stored):
        rows = softmax(beta * states @ stored.T, axis=1) @ stored
        return rows / np.linalg.norm(rows, axis=1, keepdims=True)

    terms = [(x, y), (y, x)]
    if objective in ("infonce_hopfield", "cloob"):
        terms = [(retrieved(x, x), retrieved(y, x)), (retrieved(y, y), retrieved(x, y))]
    return np.mean([1 - np.diag(softmax(inv_temperature * a @ b.T, axis=1)) for a, b in terms])


@pytest.mark.parametrize("objective", OBJECTIVES)
@pytest.mark.parametrize("tile", [7, 1024])
def test_saturation_is_the_mean_of_one_minus_p(objective, tile, monkeypatch):
    monkeypatch.setattr("cloob.train.validation._TILE", tile)
    image = normalized(24, 8)
    text = torch.nn.functional.normalize(image + 0.5 * normalized(24, 8, seed=1), dim=1)
    found = saturation(image, text, objective, 10.0, 4.0)
    assert found.dtype == torch.float64
    assert float(found) == pytest.approx(by_the_formula(image, text, objective, 10.0, 4.0), rel=1e-12)


def test_saturation_is_the_factor_of_infonces_gradient_over_infoloobs():
    """∂ InfoNCE / ∂ x_i = (1 − p_i) ∂ InfoLOOB / ∂ x_i where x is the anchor."""
    x, y = normalized(12, 8).requires_grad_(), normalized(12, 8, seed=1)
    logits = 10 * x @ y.T
    positive = logits.diagonal()
    others = logits.masked_fill(torch.eye(12, dtype=torch.bool), -torch.inf).logsumexp(1)
    (nce,) = torch.autograd.grad((logits.logsumexp(1) - positive).sum(), x, retain_graph=True)
    (loob,) = torch.autograd.grad((others - positive).sum(), x)
    forward = nce.norm(dim=1) / loob.norm(dim=1)
    backward = 1 - torch.softmax(10 * y @ x.detach().T, dim=1).diagonal()
    expected = float((forward.mean() + backward.mean()) / 2)
    assert float(saturation(x.detach(), y, "clip", 10.0, None)) == pytest.approx(expected, rel=1e-9)


def test_a_batch_that_is_learned_is_saturated_without_rounding_to_zero():
    rows = torch.eye(8)
    found = float(saturation(rows, rows, "clip", 40.0, None))
    assert found == pytest.approx(7 * np.exp(-40.0), rel=1e-5)
