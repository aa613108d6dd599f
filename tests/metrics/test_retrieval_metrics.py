"""Ranks and recall against a plain sort in float64, and with ties, NaN and several captions per image."""

import numpy as np
import pytest
import torch
from torch import Tensor

from cloob.metrics.retrieval import match_ranks, retrieval_metrics


def random_unit_rows(*shape: int, seed: int = 0) -> Tensor:
    rows = torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return rows / rows.norm(dim=1, keepdim=True)


def random_captions(images: int, texts: int) -> Tensor:
    """The image index of each caption, in random order; every image has at least one caption."""
    generator = torch.Generator().manual_seed(7)
    more = torch.randint(images, (texts - images,), generator=generator)
    return torch.cat([torch.arange(images), more])[torch.randperm(texts, generator=generator)]


def test_the_rank_counts_the_more_similar_targets() -> None:
    queries, targets = random_unit_rows(40, 8), random_unit_rows(40, 8, seed=1)
    similarity = queries.numpy() @ targets.numpy().T
    expected = [list(np.argsort(-row)).index(i) + 1 for i, row in enumerate(similarity)]
    assert match_ranks(queries, targets).tolist() == expected


def test_an_image_is_ranked_by_the_best_of_its_captions_and_a_caption_by_its_image() -> None:
    image, text, image_of_text = (
        random_unit_rows(23, 6),
        random_unit_rows(60, 6, seed=1),
        random_captions(23, 60),
    )
    similarity = image.numpy() @ text.numpy().T
    captioned = image_of_text.numpy()
    ranks = []
    for i, row in enumerate(similarity):
        non_matching = row[captioned != i]
        ranks.append(1 + sum(non_matching > max(row[captioned == i])))
    metrics = retrieval_metrics(image, text, image_of_text)
    assert metrics["image_to_text_mean_rank"] == pytest.approx(np.mean(ranks))
    assert metrics["image_to_text_r5"] == pytest.approx(np.mean(np.array(ranks) <= 5))
    ranks = [list(np.argsort(-column)).index(captioned[j]) + 1 for j, column in enumerate(similarity.T)]
    assert metrics["text_to_image_median_rank"] == pytest.approx(np.median(ranks))
    assert metrics["text_to_image_r10"] == pytest.approx(np.mean(np.array(ranks) <= 10))


@pytest.mark.parametrize(("query_tile", "target_tile"), [(7, 100), (100, 9), (7, 9), (1, 1)])
def test_metrics_do_not_depend_on_the_tile_size(monkeypatch, query_tile: int, target_tile: int) -> None:
    image, text, image_of_text = (
        random_unit_rows(23, 6),
        random_unit_rows(60, 6, seed=1),
        random_captions(23, 60),
    )
    text[:5] = text[9]  # ties, across tiles too
    expected = retrieval_metrics(image, text, image_of_text)
    monkeypatch.setattr("cloob.metrics.retrieval._QUERIES", query_tile)
    monkeypatch.setattr("cloob.metrics.retrieval._TARGETS", target_tile)
    assert retrieval_metrics(image, text, image_of_text) == expected


def test_perfect_embeddings_retrieve_perfectly_in_both_directions() -> None:
    rows = random_unit_rows(30, 16)
    metrics = retrieval_metrics(rows, rows)
    assert metrics == pytest.approx(dict.fromkeys(metrics, 1.0))
    assert len(metrics) == 10


def test_captions_of_the_same_image_do_not_compete() -> None:
    image, image_of_text = torch.eye(4, dtype=torch.float64), torch.tensor([0, 0, 0, 1, 2, 3, 3])
    metrics = retrieval_metrics(image, image[image_of_text], image_of_text)
    assert metrics == pytest.approx(dict.fromkeys(metrics, 1.0))


def test_recall_at_k_is_the_fraction_of_ranks_up_to_k() -> None:
    image = torch.eye(20, dtype=torch.float64)
    text = 0.6 * image + 0.8 * image.roll(1, dims=0)  # every caption is nearer to another image
    metrics = retrieval_metrics(image, text)
    assert metrics["image_to_text_r1"] == 0.0
    assert metrics["text_to_image_median_rank"] == 2.0


def test_a_tied_target_ranks_before_the_match() -> None:
    targets = torch.tensor([[1.0, 0.0], [1.0, 0.0], [0.0, 1.0]])
    assert match_ranks(targets, targets).tolist() == [2, 2, 1]


def test_collapsed_and_nan_embeddings_retrieve_nothing() -> None:
    for rows in (torch.ones(20, 4) / 2, torch.full((20, 4), torch.nan)):
        metrics = retrieval_metrics(rows, rows)
        assert metrics["image_to_text_r10"] == metrics["text_to_image_r10"] == 0.0
        assert metrics["image_to_text_mean_rank"] == 20.0
