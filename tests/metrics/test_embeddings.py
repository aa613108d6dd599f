"""The embedding structure against scipy and numpy in float64, and in cases with a known answer."""

import math

import numpy as np
import pytest
import torch
from scipy.spatial.distance import cdist, pdist
from torch import Tensor

from cloob.common.errors import InputError
from cloob.metrics.embeddings import (
    ajne,
    covariance_eigenvalues,
    effective_eigenvalues,
    embedding_structure,
    uniformity,
)
from cloob.objectives.tiling import TILE_SIZE


def random_unit_rows(rows: int, width: int, seed: int = 0, center: float = 0.0) -> Tensor:
    points = torch.randn(rows, width, generator=torch.Generator().manual_seed(seed)) + center
    return points / points.norm(dim=1, keepdim=True)


@pytest.mark.parametrize("tile", [512, 7])
def test_every_metric_equals_its_formula(monkeypatch, tile: int) -> None:
    monkeypatch.setitem(TILE_SIZE, "cpu", tile)
    image, text = random_unit_rows(37, 9, 1, 0.4), random_unit_rows(61, 9, 2, -0.2)
    image_of_text = torch.cat([torch.arange(37), torch.arange(24)])
    x, y = (rows.double().numpy() for rows in (image, text))
    x, y = (rows / np.linalg.norm(rows, axis=1, keepdims=True) for rows in (x, y))
    measured = embedding_structure(image, text, image_of_text)
    expected = {
        "alignment": np.mean(np.sum((x[image_of_text.numpy()] - y) ** 2, axis=1)),
        "modality_gap": np.linalg.norm(x.mean(axis=0) - y.mean(axis=0)),
    }
    for name, rows in (("image", x), ("text", y)):
        eigenvalues = np.linalg.eigvalsh(np.cov(rows, rowvar=False))[::-1]
        np.testing.assert_allclose(measured["spectrum"][name], eigenvalues, rtol=1e-10)
        explained = np.cumsum(eigenvalues) / eigenvalues.sum()
        angles = np.arccos(1 - pdist(rows, "cosine"))
        expected[f"effective_eigenvalues_{name}"] = 1 + np.argmax(explained >= 0.99)
        expected[f"ajne_{name}"] = len(rows) / 4 - angles.sum() / (np.pi * len(rows))
        expected[f"uniformity_{name}"] = np.log(np.mean(np.exp(-2 * pdist(rows, "sqeuclidean"))))
    assert measured["metrics"] == pytest.approx(expected, rel=1e-10)
    cosines = 1 - cdist(x, y, "cosine")
    matched = image_of_text.numpy()[None, :] == np.arange(len(x))[:, None]
    histograms = measured["similarities"]
    edges = histograms["edges"]
    np.testing.assert_allclose(edges, np.linspace(-1, 1, 201))
    assert histograms["matched"] == np.histogram(cosines[matched], edges)[0].tolist()
    assert histograms["unmatched"] == np.histogram(cosines[~matched], edges)[0].tolist()
    assert sum(histograms["matched"]) + sum(histograms["unmatched"]) == cosines.size


def test_ajne_is_high_for_a_point_and_zero_for_opposite_points() -> None:
    point = torch.tensor([[1.0, 0.0, 0.0]], dtype=torch.float64).repeat(10, 1)
    assert ajne(point) == pytest.approx(10 / 4)
    opposite = point * torch.tensor([1.0, -1.0], dtype=torch.float64).repeat(5)[:, None]
    assert ajne(opposite) == pytest.approx(0)  # 25 pairs at π: 10/4 - 25/10


def test_uniformity_is_zero_for_a_point_and_the_integral_for_a_uniform_sphere() -> None:
    assert uniformity(torch.eye(4, dtype=torch.float64)[[0, 0, 0]]) == pytest.approx(0)
    # On the sphere in three dimensions cosines are uniform: E exp(4 s - 4) = (1 - exp(-8)) / 8.
    expected = math.log((1 - math.exp(-8)) / 8)
    assert uniformity(random_unit_rows(3000, 3).double()) == pytest.approx(expected, abs=0.02)


def test_effective_eigenvalues_explain_99_percent_of_the_variance() -> None:
    assert effective_eigenvalues(torch.tensor([98.0, 1.0, 1.0], dtype=torch.float64)) == 2
    assert effective_eigenvalues(torch.ones(100, dtype=torch.float64)) == 99
    assert effective_eigenvalues(torch.zeros(5, dtype=torch.float64)) == 1
    axes = torch.eye(6, dtype=torch.float64)[:4]
    axes = torch.cat([axes, -axes])
    assert effective_eigenvalues(covariance_eigenvalues(axes)) == 4


def test_eigenvalues_are_not_negative_with_fewer_images_than_dimensions() -> None:
    eigenvalues = covariance_eigenvalues(random_unit_rows(5, 40).double())
    assert (eigenvalues >= 0).all()
    assert (eigenvalues[4:] < 1e-12).all()


def test_collapsed_embeddings_have_finite_metrics() -> None:
    rows = torch.ones(20, 4) / 2
    metrics = embedding_structure(rows, rows, torch.arange(20))["metrics"]
    assert metrics["alignment"] == pytest.approx(0, abs=1e-12)
    assert metrics["uniformity_image"] == pytest.approx(0, abs=1e-12)
    assert metrics["ajne_text"] == pytest.approx(5, abs=1e-6)


def test_a_single_image_is_rejected() -> None:
    with pytest.raises(InputError, match=r"1 image\(s\): the embedding structure needs at least 2"):
        embedding_structure(random_unit_rows(1, 4), random_unit_rows(1, 4), torch.tensor([0]))
