"""Ranks and recall against a plain sort in float64, and in the cases that a sort hides."""

import numpy as np
import pytest
import torch
from torch import Tensor

from cloob.metrics.retrieval import ranks_of_matches, retrieval_metrics


def normalized(*shape: int, seed: int = 0) -> Tensor:
    rows = torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return rows / rows.norm(dim=1, keepdim=True)


def test_a_rank_counts_the_targets_that_are_more_alike() -> None:
    queries, targets = normalized(40, 8), normalized(40, 8, seed=1)
    similar = queries.numpy() @ targets.numpy().T
    expected = [list(np.argsort(-row)).index(i) + 1 for i, row in enumerate(similar)]
    assert ranks_of_matches(queries, targets).tolist() == expected


def captions(images: int, texts: int) -> Tensor:
    """Every image has one caption at least, in no order."""
    generator = torch.Generator().manual_seed(7)
    more = torch.randint(images, (texts - images,), generator=generator)
    return torch.cat([torch.arange(images), more])[torch.randperm(texts, generator=generator)]


def test_an_image_finds_the_first_of_its_captions_and_a_caption_its_image() -> None:
    image, text, image_of_text = normalized(23, 6), normalized(60, 6, seed=1), captions(23, 60)
    similar = image.numpy() @ text.numpy().T
    own = image_of_text.numpy()
    found = []
    for i, row in enumerate(similar):
        others = [row[j] for j in range(60) if own[j] != i]
        found.append(1 + sum(other > max(row[own == i]) for other in others))
    metrics = retrieval_metrics(image, text, image_of_text)
    assert metrics["image_to_text_mean_rank"] == pytest.approx(np.mean(found))
    assert metrics["image_to_text_r5"] == pytest.approx(np.mean(np.array(found) <= 5))
    found = [list(np.argsort(-column)).index(own[j]) + 1 for j, column in enumerate(similar.T)]
    assert metrics["text_to_image_median_rank"] == pytest.approx(np.median(found))
    assert metrics["text_to_image_r10"] == pytest.approx(np.mean(np.array(found) <= 10))


@pytest.mark.parametrize(("queries_at_once", "targets_at_once"), [(7, 100), (100, 9), (7, 9), (1, 1)])
def test_tiles_do_not_show(monkeypatch, queries_at_once: int, targets_at_once: int) -> None:
    image, text, image_of_text = normalized(23, 6), normalized(60, 6, seed=1), captions(23, 60)
    text[:5] = text[9]  # ties, over the edges of tiles too
    whole = retrieval_metrics(image, text, image_of_text)
    monkeypatch.setattr("cloob.metrics.retrieval._QUERIES", queries_at_once)
    monkeypatch.setattr("cloob.metrics.retrieval._TARGETS", targets_at_once)
    assert retrieval_metrics(image, text, image_of_text) == whole


def test_perfect_embeddings_retrieve_perfectly_in_both_directions() -> None:
    rows = normalized(30, 16)
    metrics = retrieval_metrics(rows, rows)
    assert metrics == pytest.approx(dict.fromkeys(metrics, 1.0))
    assert len(metrics) == 10


def test_captions_of_one_image_do_not_stand_in_each_others_way() -> None:
    image, image_of_text = torch.eye(4, dtype=torch.float64), torch.tensor([0, 0, 0, 1, 2, 3, 3])
    metrics = retrieval_metrics(image, image[image_of_text], image_of_text)
    assert metrics == pytest.approx(dict.fromkeys(metrics, 1.0))


def test_recall_is_the_share_of_ranks_within_k() -> None:
    image = torch.eye(20, dtype=torch.float64)
    text = 0.6 * image + 0.8 * image.roll(1, dims=0)  # every caption is nearer to another image
    metrics = retrieval_metrics(image, text)
    assert metrics["image_to_text_r1"] == 0.0
    assert metrics["text_to_image_median_rank"] == 2.0


def test_a_target_that_ties_ranks_before_the_match() -> None:
    targets = torch.tensor([[1.0, 0.0], [1.0, 0.0], [0.0, 1.0]])
    assert ranks_of_matches(targets, targets).tolist() == [2, 2, 1]


def test_embeddings_that_collapsed_or_are_no_numbers_find_nothing() -> None:
    for rows in (torch.ones(20, 4) / 2, torch.full((20, 4), torch.nan)):
        metrics = retrieval_metrics(rows, rows)
        assert metrics["image_to_text_r10"] == metrics["text_to_image_r10"] == 0.0
        assert metrics["image_to_text_mean_rank"] == 20.0
