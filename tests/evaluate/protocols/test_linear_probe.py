"""The linear probe against scikit-learn by CLIP's protocol, and on unsuitable test sets."""

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import balanced_accuracy_score, top_k_accuracy_score
from torch import Tensor

from cloob.cli import main
from cloob.common.errors import InputError
from cloob.evaluate.features.extractor import FeatureExtractor
from cloob.evaluate.probe import selection
from cloob.evaluate.probe.path import fit_path
from cloob.evaluate.probe.selection import fit_probe
from cloob.evaluate.protocols.linear_probe import gather_rows, l2_sweep, validation_mask
from cloob.evaluate.testsets.image_folder import LabeledFolder
from cloob.evaluate.testsets.spec import load_spec

NAMES = [f"color {number}" for number in range(6)]
STRENGTHS = l2_sweep(1e-3, 1e3, 7)


def colors(folder: Path, **splits: list[int]) -> Path:
    """Squares in six overlapping colors, with the given numbers of images per class in each split."""
    random = np.random.default_rng(3)
    for split, counts in splits.items():
        for label, images in enumerate(counts):
            (folder / split / f"{label}").mkdir(parents=True)
            for number in range(images):
                mean = np.array([40 * label, 128, 255 - 40 * label])
                color = np.clip(mean + random.normal(0, 30, 3), 0, 255)
                pixels = np.clip(color + random.normal(0, 20, (32, 32, 3)), 0, 255).astype(np.uint8)
                Image.fromarray(pixels).save(folder / split / f"{label}" / f"{number:02d}.png")
    return folder


def run(
    checkpoint: Path,
    out: Path,
    *testsets: tuple[Path, Path],
    training: tuple[str, ...] = (),
    flags: tuple[str, ...] = (),
) -> int:
    """Run the command as the pipeline does; returns its exit status."""
    pairs = ["--testset", *(f"{spec_path}={folder}" for spec_path, folder in testsets)]
    options = ["--device", "cpu", "--feature-cache", str(out.parent / "features"), "--out-dir", str(out)]
    options += ["--features", "after_projection", "before_projection", "--seed", "0"]
    options += ["--l2-min", "1e-3", "--l2-max", "1e3", "--l2-num", "7"]
    options += ["--val-fraction", "0.25", *(["--probe-train-set", *training] if training else [])]
    with pytest.raises(SystemExit) as end:
        main(["evaluate", "linear-probe", "--checkpoint", str(checkpoint), *options, *flags, *pairs])
    return end.value.code


def result_of(path: Path) -> dict[str, Any]:
    return json.loads(path.read_text())


def fit_scikit_learn(features: np.ndarray, labels: np.ndarray, strength: float) -> LogisticRegression:
    return LogisticRegression(C=1 / strength, tol=1e-10, solver="newton-cholesky").fit(features, labels)


@pytest.mark.parametrize("own_validation", [False, True])
def test_result_equals_scikit_learns_by_the_protocol(
    write_spec: Callable, tmp_path: Path, checkpoint: Path, own_validation: bool
) -> None:
    splits = {"train": [9, 12, 8, 9, 10, 5], "test": [5, 6, 0, 5, 6, 7]}
    splits |= {"validation": [4] * 6} if own_validation else {}
    folder = colors(tmp_path / "set", **splits)
    keys = {"train": "train", "validation": "validation" if own_validation else None, "classes": NAMES}
    spec_path = write_spec(tmp_path / "d.yaml", **keys)
    assert run(checkpoint, tmp_path / "out", (spec_path, folder)) == 0
    result = result_of(tmp_path / "out" / "colors.json")

    extractor = FeatureExtractor(checkpoint, tmp_path / "features", device="cpu")
    images = {
        name: extractor.image_features(LabeledFolder(load_spec(spec_path), folder, name)) for name in splits
    }
    labels = {name: split.labels.numpy() for name, split in images.items()}
    for entry, kind in zip(result["probes"], ("after_projection", "before_projection"), strict=True):
        features = {name: getattr(split, kind).double().numpy() for name, split in images.items()}
        if own_validation:
            train, val = (features["train"], labels["train"]), (features["validation"], labels["validation"])
        else:
            chosen = validation_mask(images["train"].labels, 0.25, 0).numpy()
            train = features["train"][~chosen], labels["train"][~chosen]
            val = features["train"][chosen], labels["train"][chosen]
        sweep = {strength: fit_scikit_learn(*train, strength).score(*val) for strength in STRENGTHS}
        assert [point["l2_strength"] for point in entry["sweep"]] == list(STRENGTHS)
        assert [point["accuracy"] for point in entry["sweep"]] == pytest.approx(list(sweep.values()))
        best = max(strength for strength in STRENGTHS if sweep[strength] == max(sweep.values()))
        assert (entry["features"], entry["l2_strength"], entry["converged"]) == (kind, best, True)
        both = np.concatenate([train[0], val[0]]), np.concatenate([train[1], val[1]])
        refit = fit_scikit_learn(*both, best)
        probabilities = refit.predict_proba(features["test"])
        assert entry["metrics"] == pytest.approx(
            {
                "accuracy": refit.score(features["test"], labels["test"]),
                "accuracy_top5": top_k_accuracy_score(
                    labels["test"], probabilities, k=5, labels=list(range(6))
                ),
                "mean_per_class_accuracy": balanced_accuracy_score(
                    labels["test"], refit.predict(features["test"])
                ),
            }
        )
        low, high = entry["intervals"]["accuracy"]
        assert low <= entry["metrics"]["accuracy"] <= high
    assert result["metrics"] == result["probes"][0]["metrics"]
    assert result["intervals"] == result["probes"][0]["intervals"]
    assert (result["images"], result["classes"], result["chance"]) == (29, 6, 1 / 6)
    assert result["training_images"] + result["validation_images"] == 53 + 24 * own_validation
    assert (result["protocol"], result["dataset"], result["epoch"]) == ("linear_probe", "colors", 3)


def test_testset_can_use_the_training_images_of_another(
    write_spec: Callable, tmp_path: Path, checkpoint: Path
) -> None:
    folder = colors(tmp_path / "set", train=[6] * 6, test=[3] * 6, shifted=[3] * 6)
    source = write_spec(tmp_path / "source.yaml", name="source", train="train", classes=NAMES)
    other = write_spec(tmp_path / "other.yaml", name="other", test="shifted", classes=NAMES)
    assert (
        run(checkpoint, tmp_path / "out", (source, folder), (other, folder), training=("other=source",)) == 0
    )
    results = [result_of(tmp_path / "out" / f"{name}.json") for name in ("source", "other")]
    assert results[1]["training"].pop("labels_sha256").keys() == {"train"}
    assert results[0]["training"] == results[1]["training"]
    assert results[0]["probes"][0]["sweep"] == results[1]["probes"][0]["sweep"]
    assert results[0]["dataset_sha256"] != results[1]["dataset_sha256"]

    again, before = tmp_path / "again", (tmp_path / "out" / "source.json").read_bytes()
    assert run(checkpoint, again, (source, folder)) == 0
    assert (again / "source.json").read_bytes() == before


def test_corrected_labels_of_another_sets_training_images_are_noticed(
    write_spec: Callable, tmp_path: Path, checkpoint: Path
) -> None:
    folder = colors(tmp_path / "set", train=[4] * 6, test=[2] * 6, shifted=[2] * 6)
    other = write_spec(tmp_path / "other.yaml", name="other", test="shifted", classes=NAMES)
    probes = []
    for folders in (["1", "0", "2", "3", "4", "5"], None):
        keys = {"name": "source", "train": "train", "classes": NAMES, "folders": folders}
        source = write_spec(tmp_path / "source.yaml", **keys)
        sets = (source, folder), (other, folder)
        assert run(checkpoint, tmp_path / "out", *sets, training=("other=source",)) == 0
        probes.append(result_of(tmp_path / "out" / "other.json")["probes"])
    assert probes[0] != probes[1]


def test_features_of_training_images_are_deleted_once_the_results_are_written(
    write_spec: Callable, tmp_path: Path, checkpoint: Path
) -> None:
    """Also after a job that was killed between the two, because the features would never be read again."""
    folder = colors(tmp_path / "set", train=[4] * 6, test=[2] * 6)
    spec_path = write_spec(tmp_path / "d.yaml", train="train", classes=NAMES)

    def cached_splits(*flags: str) -> set[str]:
        assert run(checkpoint, tmp_path / "out", (spec_path, folder), flags=flags) == 0
        return {path.name.split("_")[1] for path in (tmp_path / "features").rglob("*.safetensors")}

    assert cached_splits("--keep-train-features") == {"train", "test"}
    assert cached_splits() == {"test"}


def test_up_to_date_result_is_not_recomputed(write_spec: Callable, tmp_path: Path, checkpoint: Path) -> None:
    folder = colors(tmp_path / "set", train=[4] * 6, test=[2] * 6)
    spec_path = write_spec(tmp_path / "d.yaml", train="train", classes=NAMES)
    path = tmp_path / "out" / "colors.json"
    assert run(checkpoint, path.parent, (spec_path, folder)) == 0
    written = path.stat().st_mtime_ns
    assert run(checkpoint, path.parent, (spec_path, folder)) == 0
    assert path.stat().st_mtime_ns == written
    Image.new("RGB", (32, 32)).save(folder / "train" / "0" / "more.png")
    assert run(checkpoint, path.parent, (spec_path, folder)) == 0
    assert path.stat().st_mtime_ns > written


def test_a_class_without_training_images_is_counted_and_never_predicted(
    write_spec: Callable, tmp_path: Path, checkpoint: Path
) -> None:
    folder = colors(tmp_path / "set", train=[6, 0, 6, 1, 6, 6], test=[4] * 6)
    spec_path = write_spec(tmp_path / "d.yaml", train="train", classes=NAMES)
    assert run(checkpoint, tmp_path / "out", (spec_path, folder)) == 0
    result = result_of(tmp_path / "out" / "colors.json")
    for entry in result["probes"]:
        assert entry["classes_without_training_images"] == 1
        assert entry["metrics"]["accuracy"] <= 20 / 24
    assert (result["images"], result["training_images"], result["validation_images"]) == (24, 17, 8)


@pytest.mark.parametrize(
    ("train", "message"),
    [
        ([9, 0, 0, 0, 0, 0], "training images of 1 class; a probe needs at least two classes"),
        ([1] * 6, "one image per class; the probe needs at least two"),
        ([0] * 6, "no images in the class folders"),
    ],
)
def test_too_few_training_images_are_rejected_in_one_line(
    write_spec: Callable,
    tmp_path: Path,
    checkpoint: Path,
    capfd: pytest.CaptureFixture,
    train: list[int],
    message: str,
) -> None:
    folder = colors(tmp_path / "set", train=train, test=[1] * 6)
    spec_path = write_spec(tmp_path / "d.yaml", train="train", classes=NAMES)
    assert run(checkpoint, tmp_path / "out", (spec_path, folder)) == 2
    assert message in capfd.readouterr().err.splitlines()[-1]
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("changes", "training", "message"),
    [
        ({"train": None}, (), "has no train split"),
        ({"train": "train"}, ("colors=paints",), "unknown test set paints"),
    ],
)
def test_missing_training_images_are_reported(
    write_spec: Callable,
    tmp_path: Path,
    checkpoint: Path,
    capfd: pytest.CaptureFixture,
    changes: dict[str, Any],
    training: tuple[str, ...],
    message: str,
) -> None:
    folder = colors(tmp_path / "set", train=[2] * 6, test=[1] * 6)
    spec_path = write_spec(tmp_path / "d.yaml", classes=NAMES, **changes)
    assert run(checkpoint, tmp_path / "out", (spec_path, folder), training=training) == 2
    assert message in capfd.readouterr().err


def test_rows_of_several_tensors_are_gathered_in_order() -> None:
    first, second = torch.randn(9000, 3), torch.randn(50, 3)
    indices = torch.arange(8999, -1, -2)
    released: list[int] = []
    parts = [
        (first, indices, lambda: released.append(1)),
        (second, torch.arange(50), lambda: released.append(2)),
    ]
    rows = gather_rows(parts, torch.device("cpu"))
    assert torch.equal(rows, torch.cat([first[indices], second]))
    assert released == [1] * 5 + [2]  # after every chunk


def test_features_that_an_encoder_lacks_are_rejected_before_the_first_fit(
    write_spec: Callable, tmp_path: Path, checkpoint: Path, monkeypatch: pytest.MonkeyPatch, capfd
) -> None:
    folder = colors(tmp_path / "set", train=[4] * 6, test=[2] * 6)
    compute = FeatureExtractor.image_features

    def without_projection(*arguments: Any) -> Any:
        return replace(compute(*arguments), before_projection=None)

    monkeypatch.setattr(FeatureExtractor, "image_features", without_projection)
    monkeypatch.setattr("cloob.evaluate.protocols.linear_probe.fit_probe", None)
    spec_path = write_spec(tmp_path / "d.yaml", train="train", classes=NAMES)
    assert run(checkpoint, tmp_path / "out", (spec_path, folder)) == 2
    assert "no features before a projection; remove before_projection" in capfd.readouterr().err


def test_non_finite_features_are_rejected() -> None:
    features, labels = torch.randn(26, 4), torch.arange(26) % 3
    features[7, 2] = torch.nan
    with pytest.raises(InputError, match="not finite"):
        fit_probe((features, labels), 20, 3, [1.0], "a set")


def test_refit_includes_classes_with_validation_images_only() -> None:
    # Three blobs; the third has validation images only.
    centers = torch.eye(3) * 10
    labels = torch.cat([torch.arange(40) % 2, torch.arange(12) % 3])
    probe = fit_probe((centers[labels], labels), 40, 3, [1.0, 0.1], "blobs")
    assert [point["accuracy"] for point in probe.sweep] == [pytest.approx(8 / 12)] * 2
    assert probe.fit.l2_strength == 1.0  # the strongest of equally good ones
    assert probe.absent_classes == 0
    assert probe.fit.logits(centers).argmax(dim=1).tolist() == [0, 1, 2]


def test_fits_that_did_not_converge_are_reported(
    capsys: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(selection, "fit_path", partial(fit_path, max_iterations=0))
    features = torch.randn(90, 5, generator=torch.Generator().manual_seed(0)).repeat(2, 1)
    assert not fit_probe((features, torch.arange(180) % 3), 90, 3, [1e-3], "one color").converged
    assert "warning: one color: not all fits converged" in capsys.readouterr().out


def validation_counts(labels: Tensor, **options: Any) -> list[int]:
    chosen = validation_mask(labels, **options)
    return torch.bincount(labels[chosen], minlength=int(labels.max()) + 1).tolist()


def test_validation_split_is_a_fraction_of_each_class() -> None:
    labels = torch.cat([torch.full((count,), label) for label, count in enumerate([50, 10, 3, 2, 1])])
    assert validation_counts(labels, val_fraction=0.2, seed=0) == [10, 2, 1, 1, 0]
    assert validation_counts(labels, val_fraction=0.99, seed=0) == [49, 9, 2, 1, 0]
    first, same, other = (validation_mask(labels, 0.2, seed) for seed in (0, 0, 1))
    assert torch.equal(first, same)
    assert not torch.equal(first, other)


def test_sweep_is_evenly_spaced_on_a_log_scale() -> None:
    assert l2_sweep(1e-6, 1e6, 13) == pytest.approx([10.0**exponent for exponent in range(-6, 7)])
    assert l2_sweep(1.0, 1.0, 1) == (1.0,)


def mixture(count: int, width: int, classes: int) -> tuple[Tensor, Tensor]:
    """L2-normalized features like those of an encoder, and labels, 5% of which are random."""
    random = torch.Generator().manual_seed(0)
    spectrum = torch.arange(1, width + 1) ** -0.7
    labels = torch.randint(classes, (count,), generator=random)
    labels[: 2 * classes] = torch.arange(2 * classes) % classes
    means = 0.4 * spectrum * torch.randn(classes, width, generator=random)
    rows = means[labels] + spectrum * torch.randn(count, width, generator=random)
    rotation = torch.linalg.qr(torch.randn(width, width, generator=random)).Q
    rows = torch.nn.functional.normalize(rows @ rotation + 0.1 * torch.randn(width, generator=random))
    wrong = torch.rand(count, generator=random) < 0.05
    wrong[: 2 * classes] = False
    return rows, torch.where(wrong, torch.randint(classes, (count,), generator=random), labels)


@pytest.mark.parametrize(
    ("images", "width", "classes", "strength", "solver"),
    [
        (2040, 1024, 102, 1.0, "lbfgs"),  # the shape of Flowers102
        (300, 64, 20, 1e-6, "newton-cholesky"),
        (300, 64, 20, 1e-3, "newton-cholesky"),
        (300, 64, 20, 1e3, "newton-cholesky"),
        (90, 130, 5, 1e-6, "newton-cholesky"),  # more features than images
        (90, 130, 5, 1e6, "newton-cholesky"),
    ],
)
def test_every_prediction_equals_scikit_learns(
    images: int, width: int, classes: int, strength: float, solver: str
) -> None:
    features, labels = mixture(images + 6149, width, classes)
    half, test = images // 2, features[images:]
    fitted = features[:images], labels[:images]
    logits = fit_probe(fitted, half, classes, [strength], "a set").fit.logits(test)
    model = LogisticRegression(C=1 / strength, tol=1e-12, max_iter=100_000, solver=solver)
    model.fit(features[:images].double().numpy(), labels[:images].numpy())
    reference = model.decision_function(test.double().numpy())
    assert (logits.argmax(dim=1).numpy() != reference.argmax(axis=1)).sum() == 0
    # Probabilities are invariant to a constant offset of all logits of an image.
    ours = (logits - logits.mean(dim=1, keepdim=True)).numpy()
    reference -= reference.mean(axis=1, keepdims=True)
    assert np.abs(ours - reference).max() <= 1e-5 * np.abs(reference).max()


def test_testset_contained_in_the_training_images_is_rejected(
    write_spec: Callable, tmp_path: Path, checkpoint: Path, capfd: pytest.CaptureFixture
) -> None:
    folder = colors(tmp_path / "set", train=[1] * 6, test=[4] * 6)
    for path in sorted((folder / "test").rglob("*.png")):
        shutil.copy(path, folder / "train" / path.parent.name / f"copy {path.name}")
    spec_path = write_spec(tmp_path / "d.yaml", train="train", classes=NAMES)
    assert run(checkpoint, tmp_path / "out", (spec_path, folder)) == 2
    assert "24 of 24 test images are also training images ('0/00.png'" in capfd.readouterr().err
    assert not (tmp_path / "out").exists()


def test_single_test_images_among_the_training_images_are_reported(
    write_spec: Callable, tmp_path: Path, checkpoint: Path, capfd: pytest.CaptureFixture
) -> None:
    folder = colors(tmp_path / "set", train=[4] * 6, test=[4] * 6)
    shutil.copy(folder / "test" / "2" / "03.png", folder / "train" / "5" / "another name.png")
    spec_path = write_spec(tmp_path / "d.yaml", train="train", classes=NAMES)
    assert run(checkpoint, tmp_path / "out", (spec_path, folder)) == 0
    assert "1 of 24 test images are also training images ('2/03.png')" in capfd.readouterr().out
