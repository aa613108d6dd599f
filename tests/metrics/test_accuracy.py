"""Accuracies against scikit-learn, intervals against a plain bootstrap; ties, one class, missing classes."""

import numpy as np
import pytest
import torch
from sklearn.metrics import accuracy_score, recall_score, top_k_accuracy_score
from torch import Tensor

from cloob.metrics.accuracy import accuracies, ranks_of_labels


def logits_of(images: int, classes: int, kind: str) -> Tensor:
    logits = torch.randn(images, classes, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    if kind == "ties":
        return (2 * logits).round()
    return torch.zeros_like(logits) if kind == "all equal" else logits


@pytest.mark.parametrize("kind", ["random", "ties", "all equal"])
@pytest.mark.parametrize("labeled", ["all classes", "one class", "classes missing"])
def test_metrics_are_scikit_learns(kind: str, labeled: str) -> None:
    classes, images = 12, 300
    logits = logits_of(images, classes, kind)
    among = {"all classes": range(classes), "one class": [7], "classes missing": [0, 3, 11]}[labeled]
    labels = np.random.default_rng(3).choice(list(among), images)
    measured = accuracies(logits, torch.from_numpy(labels))
    chosen = logits.numpy().argmax(axis=1)  # of equal ones the first, as documented
    # In scikit-learn's top k the last of equal ones wins: its classes are given in reverse.
    top5 = top_k_accuracy_score(classes - 1 - labels, logits.numpy()[:, ::-1], k=5, labels=np.arange(classes))
    assert measured["metrics"] == pytest.approx(
        {
            "accuracy": accuracy_score(labels, chosen),
            "accuracy_top5": top5,
            "mean_per_class_accuracy": recall_score(
                labels, chosen, labels=np.unique(labels), average="macro", zero_division=0
            ),
        }
    )
    assert measured["images"] == np.bincount(labels, minlength=classes).tolist()
    assert measured["right"] == np.bincount(labels[chosen == labels], minlength=classes).tolist()


def test_of_equal_scores_the_first_class_stands_first() -> None:
    assert ranks_of_labels(torch.zeros(3, 4), torch.tensor([0, 2, 3])).tolist() == [0, 2, 3]


def test_what_is_no_number_is_never_right() -> None:
    logits = torch.tensor([[2.0, torch.nan, 1.0], [torch.nan, 0.0, 1.0], [torch.nan] * 3])
    assert ranks_of_labels(logits, torch.tensor([0, 0, 0])).tolist() == [1, 3, 3]
    assert accuracies(logits, torch.tensor([0, 0, 0]))["metrics"]["accuracy"] == 0
    assert accuracies(torch.full((2, 1), torch.nan), torch.tensor([0, 0]))["metrics"]["accuracy"] == 0


def test_tiles_of_images_do_not_show(monkeypatch) -> None:
    logits, labels = logits_of(50, 8, "ties"), torch.arange(50) % 8
    whole = ranks_of_labels(logits, labels)
    monkeypatch.setattr("cloob.metrics.accuracy._ROWS", 7)
    assert torch.equal(ranks_of_labels(logits, labels), whole)


def test_intervals_are_those_of_images_drawn_with_replacement() -> None:
    images, classes = 120, 9
    logits, labels = logits_of(images, classes, "random"), torch.arange(images) % 5  # four classes have none
    logits[torch.arange(images), labels] += 1.5
    intervals = accuracies(logits, labels)["intervals"]
    right = (logits.argmax(dim=1) == labels).numpy()
    top5 = (ranks_of_labels(logits, labels) < 5).numpy()
    generator = np.random.default_rng(9)
    found: dict[str, list] = {name: [] for name in intervals}
    for _ in range(4000):
        drawn = generator.integers(images, size=images)
        found["accuracy"].append(right[drawn].mean())
        found["accuracy_top5"].append(top5[drawn].mean())
        classes_drawn = labels.numpy()[drawn]
        of_class = [right[drawn][classes_drawn == each].mean() for each in np.unique(classes_drawn)]
        found["mean_per_class_accuracy"].append(np.mean(of_class))
    for name, values in found.items():
        assert intervals[name] == pytest.approx(np.percentile(values, (2.5, 97.5)), abs=0.015)


def test_intervals_are_the_same_each_time_and_hold_the_metric() -> None:
    logits, labels = logits_of(60, 7, "random"), torch.arange(60) % 7
    one, two = accuracies(logits, labels), accuracies(logits, labels)
    assert one == two
    for name, (low, high) in one["intervals"].items():
        assert low <= one["metrics"][name] <= high


def test_a_class_of_one_image_and_five_classes() -> None:
    measured = accuracies(torch.eye(5)[[0]], torch.tensor([0]))
    assert measured["metrics"] == {"accuracy": 1, "accuracy_top5": None, "mean_per_class_accuracy": 1}
    assert measured["intervals"] == {"accuracy": [1, 1], "mean_per_class_accuracy": [1, 1]}
