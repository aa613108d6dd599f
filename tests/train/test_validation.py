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
    text = image.roll(1, dims=0)  # no caption is where its image is
    metrics = retrieval_metrics(image, text)
    assert metrics["image_to_text_r1"] == 0.0
    assert metrics["text_to_image_median_rank"] == 2.0
