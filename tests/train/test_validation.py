import numpy as np
import pytest
import torch

from cloob.train.validation import ranks_of_matches, retrieval_metrics


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
