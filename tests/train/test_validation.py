import numpy as np
import pytest
import torch
from scipy.special import softmax

from cloob.objective import OBJECTIVES
from cloob.train.validation import ranks_of_matches, retrieval_metrics, saturation


def normalised(*shape, seed=0):
    rows = torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return rows / rows.norm(dim=1, keepdim=True)


def test_a_rank_counts_the_targets_that_are_more_alike():
    queries, targets = normalised(40, 8), normalised(40, 8, seed=1)
    similar = queries.numpy() @ targets.numpy().T
    expected = [list(np.argsort(-row)).index(i) + 1 for i, row in enumerate(similar)]
    assert ranks_of_matches(queries, targets).tolist() == expected


def test_tiles_do_not_show(monkeypatch):
    queries, targets = normalised(40, 8), normalised(40, 8, seed=1)
    whole = ranks_of_matches(queries, targets)
    monkeypatch.setattr("cloob.train.validation._TILE", 7)
    assert torch.equal(ranks_of_matches(queries, targets), whole)


def test_perfect_embeddings_retrieve_perfectly_in_both_directions():
    rows = normalised(30, 16)
    metrics = retrieval_metrics(rows, rows)
    assert metrics == pytest.approx(dict.fromkeys(metrics, 1.0))
    assert len(metrics) == 10


def test_recall_is_the_share_of_ranks_within_k():
    image = torch.eye(20, dtype=torch.float64)
    text = 0.6 * image + 0.8 * image.roll(1, dims=0)  # every caption is nearer to another image
    metrics = retrieval_metrics(image, text)
    assert metrics["image_to_text_r1"] == 0.0
    assert metrics["text_to_image_median_rank"] == 2.0


def test_embeddings_that_collapsed_or_are_no_numbers_find_nothing():
    for rows in (torch.ones(20, 4) / 2, torch.full((20, 4), torch.nan)):
        metrics = retrieval_metrics(rows, rows)
        assert metrics["image_to_text_r10"] == metrics["text_to_image_r10"] == 0.0
        assert metrics["image_to_text_mean_rank"] == 20.0


def by_the_formula(image, text, objective, inverse_temperature, beta):
    """Mean 1 − p, as method.md writes it: U_x, U_y, V_x, V_y by softmax, then InfoNCE's softmax."""
    x, y = image.numpy(), text.numpy()

    def retrieved(states, stored):
        rows = softmax(beta * states @ stored.T, axis=1) @ stored
        return rows / np.linalg.norm(rows, axis=1, keepdims=True)

    terms = [(x, y), (y, x)]
    if objective in ("infonce_hopfield", "infoloob_hopfield"):
        terms = [(retrieved(x, x), retrieved(y, x)), (retrieved(y, y), retrieved(x, y))]
    return np.mean([1 - np.diag(softmax(inverse_temperature * a @ b.T, axis=1)) for a, b in terms])


@pytest.mark.parametrize("objective", OBJECTIVES)
@pytest.mark.parametrize("tile", [7, 1024])
def test_saturation_is_the_mean_of_one_minus_p(objective, tile, monkeypatch):
    monkeypatch.setattr("cloob.train.validation._TILE", tile)
    image = normalised(24, 8)
    text = torch.nn.functional.normalize(image + 0.5 * normalised(24, 8, seed=1), dim=1)
    found = saturation(image, text, objective, 10.0, 4.0)
    assert found.dtype == torch.float64
    assert float(found) == pytest.approx(by_the_formula(image, text, objective, 10.0, 4.0), rel=1e-12)


def test_saturation_is_the_factor_of_infonces_gradient_over_infoloobs():
    """∂ InfoNCE / ∂ x_i = (1 − p_i) ∂ InfoLOOB / ∂ x_i where x is the anchor."""
    x, y = normalised(12, 8).requires_grad_(), normalised(12, 8, seed=1)
    logits = 10 * x @ y.T
    positive = logits.diagonal()
    others = logits.masked_fill(torch.eye(12, dtype=torch.bool), -torch.inf).logsumexp(1)
    (nce,) = torch.autograd.grad((logits.logsumexp(1) - positive).sum(), x, retain_graph=True)
    (loob,) = torch.autograd.grad((others - positive).sum(), x)
    forward = nce.norm(dim=1) / loob.norm(dim=1)
    backward = 1 - torch.softmax(10 * y @ x.detach().T, dim=1).diagonal()
    expected = float((forward.mean() + backward.mean()) / 2)
    assert float(saturation(x.detach(), y, "infonce", 10.0, None)) == pytest.approx(expected, rel=1e-9)


def test_a_batch_that_is_learned_is_saturated_without_rounding_to_zero():
    rows = torch.eye(8)
    found = float(saturation(rows, rows, "infonce", 40.0, None))
    assert found == pytest.approx(7 * np.exp(-40.0), rel=1e-5)
