"""The logistic regression against scikit-learn's optimum, with the objective evaluated by its definition."""

import warnings
from collections.abc import Callable

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression
from torch import Tensor

from cloob.evaluate.probe import path as logistic
from cloob.evaluate.probe import problem as logistic_problem
from cloob.evaluate.probe.path import Fit, fit_path

STRENGTHS = [1e2, 1e0, 1e-2, 1e-4, 1e-6]


def random_case(images: int = 400, width: int = 12, classes: int = 7, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Overlapping classes with a nonzero mean."""
    random = torch.Generator().manual_seed(seed)
    labels = torch.cat([torch.arange(classes), torch.randint(classes, (images - classes,), generator=random)])
    means = torch.randn(classes, width, generator=random)
    return means[labels] + torch.randn(images, width, generator=random) + 3, labels


def separable() -> tuple[Tensor, Tensor]:
    features, labels = random_case(width=30)
    return features + 20 * torch.eye(30)[labels], labels


def tiny_classes() -> tuple[Tensor, Tensor]:
    """One class with nearly all images, three with one image."""
    features, labels = random_case()
    labels[7:] = torch.where(labels[7:] < 4, 0, labels[7:] % 3 + 1)
    return features, labels.unique(return_inverse=True)[1]


def duplicated_features() -> tuple[Tensor, Tensor]:
    """Rank-deficient: every feature three times, a constant one, a zero one."""
    features, labels = random_case()
    return torch.cat([features, features, features, torch.ones(400, 1), torch.zeros(400, 1)], dim=1), labels


def badly_scaled_features() -> tuple[Tensor, Tensor]:
    features, labels = random_case(width=8)
    return features * 10 ** torch.linspace(-3, 3, 8), labels


def more_features_than_images() -> tuple[Tensor, Tensor]:
    return random_case(images=40, width=60)


def identical_images_in_every_class() -> tuple[Tensor, Tensor]:
    features, labels = random_case()
    return torch.where(torch.arange(400)[:, None] % 5 == 0, features[0], features), labels


def far_from_the_origin() -> tuple[Tensor, Tensor]:
    """Few images, many features: float32 products stop short of the optimum."""
    features, labels = random_case(images=90, width=130, classes=5)
    return features * torch.arange(1, 131) ** -1.0 + 60, labels


def two_classes() -> tuple[Tensor, Tensor]:
    return random_case(classes=2)


CASES = [
    random_case,
    separable,
    tiny_classes,
    duplicated_features,
    badly_scaled_features,
    more_features_than_images,
    identical_images_in_every_class,
    far_from_the_origin,
    two_classes,
]


def objective(
    features: Tensor, labels: Tensor, weights: np.ndarray, bias: np.ndarray, strength: float
) -> float:
    """Σ −ln softmax(x W + b)[y] + λ/2 ‖W‖², image by image."""
    total = strength / 2 * (weights.astype(np.float64) ** 2).sum()
    for row, label in zip(features.double().numpy(), labels.tolist(), strict=True):
        logits = row @ weights.astype(np.float64) + bias
        total += np.logaddexp.reduce(logits) - logits[label]
    return float(total)


def fit_scikit_learn(
    features: Tensor, labels: Tensor, strength: float, solver: str = "newton-cholesky"
) -> tuple[np.ndarray, np.ndarray]:
    """Weights (d, K) and bias (K,) at scikit-learn's optimum, one column per class.

    Its Newton solver converges where its L-BFGS does not (`badly_scaled_features`); neither converges far
    from the origin, so the features are centered.
    """
    mean = features.double().mean(dim=0).numpy()
    model = LogisticRegression(C=1 / strength, tol=1e-10, max_iter=100_000, solver=solver)
    with warnings.catch_warnings():  # it warns if rounding prevents its tolerance
        warnings.simplefilter("ignore")
        model.fit(features.double().numpy() - mean, labels.numpy())
    model.intercept_ -= model.coef_ @ mean
    if len(model.classes_) == 2:  # one column w for two classes: ±w/2 gives these probabilities
        return np.concatenate([-model.coef_, model.coef_]).T / 2, np.concatenate(
            [-model.intercept_, model.intercept_]
        ) / 2
    return model.coef_.T, model.intercept_


@pytest.mark.parametrize("case", CASES)
def test_optimum_equals_scikit_learns(case: Callable[[], tuple[Tensor, Tensor]]) -> None:
    features, labels = case()
    for fit in fit_path(features, labels, STRENGTHS):
        if case is two_classes:  # scikit-learn penalizes its one column: ‖w‖² where ours is ‖w‖²/2
            weights, bias = fit_scikit_learn(features, labels, fit.l2_strength / 2)
        else:
            weights, bias = fit_scikit_learn(features, labels, fit.l2_strength)
        best = objective(features, labels, weights, bias, fit.l2_strength)
        ours = objective(features, labels, fit.weights.numpy(), fit.bias.numpy(), fit.l2_strength)
        assert fit.converged
        assert ours <= best * (1 + 1e-4)
        assert ours == pytest.approx(best, rel=1e-4)
        assert fit.objective == pytest.approx(ours, rel=1e-5)
        own = (fit.logits(features).argmax(dim=1) == labels).double().mean()
        right = ((features.double().numpy() @ weights + bias).argmax(axis=1) == labels.numpy()).mean()
        # 0.1 points, or one image in a dataset this small.
        assert abs(own - right) <= max(0.001, 1 / len(labels)) + 1e-9


@pytest.mark.parametrize("case", CASES)
def test_single_weak_strength_gives_the_same_solution_as_a_sweep(
    case: Callable[[], tuple[Tensor, Tensor]],
) -> None:
    features, labels = case()
    [alone] = fit_path(features, labels, STRENGTHS[-1:])
    *_, last = fit_path(features, labels, STRENGTHS)
    assert alone.converged
    assert alone.objective == pytest.approx(last.objective, rel=1e-4)


@pytest.mark.parametrize("solver", ["lbfgs", "newton-cholesky"])
def test_float64_weights_equal_scikit_learns(solver: str) -> None:
    features, labels = random_case()
    for fit in fit_path(features.double(), labels, STRENGTHS[:3], tolerance=1e-13):
        weights, bias = fit_scikit_learn(features, labels, fit.l2_strength, solver)
        np.testing.assert_allclose(fit.weights.numpy(), weights, atol=2e-4)
        # Probabilities are invariant to a constant offset of all biases.
        np.testing.assert_allclose(fit.bias - fit.bias.mean(), bias - bias.mean(), atol=1e-3)


def test_strengths_are_sorted_from_strong_to_weak_without_duplicates() -> None:
    fits = list(fit_path(*random_case(), [1.0, 100.0, 0.1, 1.0]))
    assert [fit.l2_strength for fit in fits] == [100.0, 1.0, 0.1]


def test_optimum_is_independent_of_the_path() -> None:
    features, labels = random_case()
    *_, last = fit_path(features.double(), labels, STRENGTHS[:3], tolerance=1e-11)
    [alone] = fit_path(features.double(), labels, STRENGTHS[2:3], tolerance=1e-11)
    [restarted] = fit_path(features.double(), labels, STRENGTHS[2:3], start=alone, tolerance=1e-8)
    assert last.objective == pytest.approx(alone.objective, rel=1e-8)
    assert (restarted.objective, restarted.iterations) == (pytest.approx(alone.objective, rel=1e-12), 0)


def test_optimum_is_independent_of_the_chunk_size(monkeypatch: pytest.MonkeyPatch) -> None:
    features, labels = random_case(images=1000)
    [whole] = fit_path(features.double(), labels, [0.1], tolerance=1e-11)
    monkeypatch.setitem(logistic_problem._LOGITS_PER_CHUNK, "cpu", 7)  # 256 rows, the minimum
    [chunked] = fit_path(features.double(), labels, [0.1], tolerance=1e-11)
    assert chunked.objective == pytest.approx(whole.objective, rel=1e-8)
    torch.testing.assert_close(chunked.weights, whole.weights, atol=1e-3, rtol=0)


def test_fit_is_deterministic() -> None:
    first, second = (list(fit_path(*random_case(), STRENGTHS)) for _ in range(2))
    assert all(torch.equal(a.weights, b.weights) for a, b in zip(first, second, strict=True))


def test_very_strong_penalty_predicts_the_class_frequencies() -> None:
    features, labels = random_case()
    [fit] = fit_path(features.double(), labels, [1e12])
    probabilities = torch.softmax(fit.logits(features.double()), dim=1)[0]
    torch.testing.assert_close(
        probabilities, torch.bincount(labels) / 400.0, check_dtype=False, atol=1e-6, rtol=0
    )


def test_logits_resolve_differences_below_float32_precision() -> None:
    features, labels = random_case(images=700)
    labels = torch.arange(700) % 7
    features = 1e-3 * (features + 4 * torch.eye(12)[labels])
    [fit] = fit_path(features, labels, [1e6])
    [exact] = fit_path(features.double(), labels, [1e6], tolerance=1e-12)
    assert fit.weights.abs().max() < 1e-6
    accuracies = [
        (solution.logits(features).argmax(dim=1) == labels).double().mean() for solution in (fit, exact)
    ]
    assert accuracies[0] == accuracies[1] > 0.5


def test_warm_start_with_a_strong_penalty_predicts_like_a_fresh_fit() -> None:
    features, labels = random_case(images=120, width=60)[0], torch.arange(120) % 4
    features = 0.04 * features + 2 * torch.randn(60, generator=torch.Generator().manual_seed(1))
    [start] = fit_path(features[30:], labels[30:], [1e5])
    [refitted], [fresh] = fit_path(features, labels, [1e5], start), fit_path(features.double(), labels, [1e5])
    expected, logits = fresh.logits(features), refitted.logits(features)
    assert (logits - expected).abs().max() <= 1e-3 * (expected - expected.mean(dim=0)).abs().max()


def test_iteration_limit_is_reported_as_not_converged() -> None:
    [fit] = fit_path(*random_case(), [1e-4], max_iterations=2)
    assert (fit.iterations, fit.converged) == (2, False)


@pytest.mark.parametrize(
    ("labels", "strengths"),
    [([0, 0], [1.0]), ([0, 2], [1.0]), ([0, 1], []), ([0, 1], [0.0]), ([0, 1], [-1.0])],
)
def test_input_without_a_finite_solution_is_rejected(labels: list[int], strengths: list[float]) -> None:
    with pytest.raises(ValueError, match="positive L2 strengths"):
        list(fit_path(torch.eye(2), torch.tensor(labels), strengths))


def test_a_class_without_images_is_never_predicted() -> None:
    features, labels = random_case(classes=3)
    [fit] = fit_path(features, labels, [1.0])
    expanded: Fit = fit.expand_classes(torch.tensor([0, 2, 4]), 5)
    assert set(expanded.logits(features).argmax(dim=1).tolist()) == {0, 2, 4}
    torch.testing.assert_close(expanded.logits(features)[:, [0, 2, 4]], fit.logits(features))


def disable_newton(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(logistic, "newton", lambda problem, point, strength, tolerance: point)


@pytest.mark.parametrize("case", CASES)
def test_newton_reaches_the_optimum_of_float64_lbfgs(
    case: Callable[[], tuple[Tensor, Tensor]], monkeypatch: pytest.MonkeyPatch
) -> None:
    features, labels = case()
    coarse = list(fit_path(features, labels, [1.0, 1e-4]))

    def refit() -> list[Fit]:
        fits = [
            fit_path(features, labels, [fit.l2_strength], fit, 1e-14, 150, torch.float64) for fit in coarse
        ]
        return [fit for [fit] in fits]

    by_newton = refit()
    disable_newton(monkeypatch)
    for ours, plain in zip(by_newton, refit(), strict=True):
        assert ours.converged or not plain.converged
        assert ours.objective <= plain.objective * (1 + (1e-12 if plain.converged else 1e-6))


def test_newton_needs_few_float64_evaluations(monkeypatch: pytest.MonkeyPatch) -> None:
    features, labels = more_features_than_images()
    [coarse] = fit_path(features, labels, [1e-4])
    last = (features, labels, [1e-4], coarse, 1e-14)
    [by_newton] = fit_path(*last, precision=torch.float64)
    assert by_newton.evaluations <= 8
    disable_newton(monkeypatch)
    [plain] = fit_path(*last, precision=torch.float64)
    assert plain.evaluations > 4 * by_newton.evaluations


@pytest.mark.parametrize("cached", [0, 2**28])
def test_hessian_product_is_the_finite_difference_of_the_gradient(
    monkeypatch: pytest.MonkeyPatch, cached: int
) -> None:
    monkeypatch.setattr(logistic_problem, "_MAX_CACHED_PROBABILITIES", cached)
    features, labels = random_case()
    problem = logistic_problem.Problem(features, labels, torch.bincount(labels))
    random = torch.Generator().manual_seed(0)
    point, direction = 0.1 * torch.randn(2, 13, 7, generator=random, dtype=torch.float64)
    up, down = (problem.evaluate(point + offset * direction, 0.3, torch.float64) for offset in (1e-5, -1e-5))
    torch.testing.assert_close(
        problem.hessian(point, 0.3)(direction), (up.gradient - down.gradient) / 2e-5, rtol=1e-4, atol=1e-3
    )
