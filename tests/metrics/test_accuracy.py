"""Accuracies against scikit-learn, intervals against a plain bootstrap; ties, one class, missing classes."""

import numpy as np
import pytest
import torch
from sklearn.metrics import accuracy_score, balanced_accuracy_score, recall_score, top_k_accuracy_score
from torch import Tensor

from cloob.metrics import accuracy
from cloob.metrics.accuracy import accuracies, label_ranks


def make_logits(images: int, classes: int, kind: str) -> Tensor:
    logits = torch.randn(images, classes, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    if kind == "ties":
        return (2 * logits).round()
    return torch.zeros_like(logits) if kind == "all equal" else logits


@pytest.mark.parametrize("kind", ["random", "ties", "all equal"])
@pytest.mark.parametrize("labeled", ["all classes", "one class", "classes missing"])
def test_metrics_equal_those_of_scikit_learn(kind: str, labeled: str) -> None:
    classes, images = 12, 300
    logits = make_logits(images, classes, kind)
    choices = {"all classes": range(classes), "one class": [7], "classes missing": [0, 3, 11]}[labeled]
    labels = np.random.default_rng(3).choice(list(choices), images)
    measured = accuracies(logits, torch.from_numpy(labels))
    predicted = logits.numpy().argmax(axis=1)  # the first of tied classes, as documented
    # In scikit-learn's top k the last of tied classes wins, so it gets the classes in reverse order.
    top5 = top_k_accuracy_score(classes - 1 - labels, logits.numpy()[:, ::-1], k=5, labels=np.arange(classes))
    assert measured["metrics"] == pytest.approx(
        {
            "accuracy": accuracy_score(labels, predicted),
            "accuracy_top5": top5,
            "mean_per_class_accuracy": recall_score(
                labels, predicted, labels=np.unique(labels), average="macro", zero_division=0
            ),
        }
    )
    assert measured["images"] == np.bincount(labels, minlength=classes).tolist()
    assert measured["right"] == np.bincount(labels[predicted == labels], minlength=classes).tolist()


@pytest.mark.filterwarnings("ignore:y_pred contains classes")
def test_mean_over_classes_has_every_bit_of_scikit_learns(monkeypatch) -> None:
    monkeypatch.setattr(accuracy, "RESAMPLES", 2)
    for seed in range(20):
        rng = np.random.default_rng(seed)
        labels = rng.integers(0, 100, rng.integers(20, 300))  # some classes have no images
        logits = rng.normal(size=(len(labels), 100))
        logits[np.arange(len(labels)), labels] += 2
        measured = accuracies(torch.from_numpy(logits), torch.from_numpy(labels))["metrics"]
        expected = balanced_accuracy_score(labels, logits.argmax(axis=1))
        assert measured["mean_per_class_accuracy"] == expected


def test_ties_go_to_the_lower_class_index() -> None:
    assert label_ranks(torch.zeros(3, 4), torch.tensor([0, 2, 3])).tolist() == [0, 2, 3]


def test_nan_logits_are_never_correct() -> None:
    logits = torch.tensor([[2.0, torch.nan, 1.0], [torch.nan, 0.0, 1.0], [torch.nan] * 3])
    assert label_ranks(logits, torch.tensor([0, 0, 0])).tolist() == [1, 3, 3]
    assert accuracies(logits, torch.tensor([0, 0, 0]))["metrics"]["accuracy"] == 0
    assert accuracies(torch.full((2, 1), torch.nan), torch.tensor([0, 0]))["metrics"]["accuracy"] == 0


def test_ranks_do_not_depend_on_the_tile_size(monkeypatch) -> None:
    logits, labels = make_logits(50, 8, "ties"), torch.arange(50) % 8
    expected = label_ranks(logits, labels)
    monkeypatch.setattr("cloob.metrics.accuracy._ROWS", 7)
    assert torch.equal(label_ranks(logits, labels), expected)


def test_intervals_equal_a_bootstrap_over_images() -> None:
    images, classes = 120, 9
    logits, labels = make_logits(images, classes, "random"), torch.arange(images) % 5  # 4 classes are empty
    logits[torch.arange(images), labels] += 1.5
    intervals = accuracies(logits, labels)["intervals"]
    correct = (logits.argmax(dim=1) == labels).numpy()
    top5 = (label_ranks(logits, labels) < 5).numpy()
    generator = np.random.default_rng(9)
    resampled: dict[str, list] = {name: [] for name in intervals}
    for _ in range(4000):
        drawn = generator.integers(images, size=images)
        resampled["accuracy"].append(correct[drawn].mean())
        resampled["accuracy_top5"].append(top5[drawn].mean())
        drawn_labels = labels.numpy()[drawn]
        class_accuracies = [correct[drawn][drawn_labels == label].mean() for label in np.unique(drawn_labels)]
        resampled["mean_per_class_accuracy"].append(np.mean(class_accuracies))
    for name, values in resampled.items():
        assert intervals[name] == pytest.approx(np.percentile(values, (2.5, 97.5)), abs=0.015)


def test_intervals_are_reproducible_and_contain_the_metric() -> None:
    logits, labels = make_logits(60, 7, "random"), torch.arange(60) % 7
    first, second = accuracies(logits, labels), accuracies(logits, labels)
    assert first == second
    for name, (low, high) in first["intervals"].items():
        assert low <= first["metrics"][name] <= high


def test_a_single_image_of_five_classes_has_no_top_5_accuracy() -> None:
    measured = accuracies(torch.eye(5)[[0]], torch.tensor([0]))
    assert measured["metrics"] == {"accuracy": 1, "accuracy_top5": None, "mean_per_class_accuracy": 1}
    assert measured["intervals"] == {"accuracy": [1, 1], "mean_per_class_accuracy": [1, 1]}
