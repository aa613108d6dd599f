"""The table of train-test overlap."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from cloob.common.bit_strings import pack_bits
from cloob.common.errors import InputError
from cloob.common.json_files import write_json
from cloob.report.load.overlap import read_overlaps
from tests.helpers.result_writers import result_path, run_of


def write_overlap(folder: Path, corpus: str, dataset: str, overlapping: int = 2, **changed: Any) -> Path:
    """Write a result of `cloob evaluate overlap`."""
    path = folder / corpus / f"{dataset}.json"
    matches = [
        {"image": f"a/{index}.jpg", "training_images": 1, "nearest": []} for index in range(overlapping)
    ]
    content = {
        "protocol": "overlap",
        "corpus": corpus,
        "dataset": dataset,
        "title": dataset,
        "images": 1200,
        "compared": 1190,
        "overlapping": overlapping,
        "share": overlapping / 1200,
        "training_images": 2_890_000,
        "training_compared": 2_880_000,
        "distance": 20,
        "dataset_sha256": "d" * 64,
        "overlapping_images": pack_bits([index < overlapping for index in range(1200)]),
        "matches": matches,
    }
    write_json(path, content | changed)
    return path


def write_zeroshot(
    folder: Path,
    dataset: str,
    objective: str = "cloob",
    seed: int = 1,
    overlapping: int = 1,
    clean: int = 400,
    **changed: Any,
) -> Path:
    """Write a zero-shot result of 1,200 images.

    Of the first two images, which overlap, the given number is correct, and of the others `clean`.
    """
    run = run_of(objective, seed)
    path = result_path(folder, run, 31, "zeroshot", dataset)
    path.parent.mkdir(parents=True, exist_ok=True)
    correct = [index < overlapping or 2 <= index < 2 + clean for index in range(1200)]
    content = {
        "run": run,
        "epoch": 31,
        "protocol": "zeroshot",
        "dataset": dataset,
        "images": 1200,
        "dataset_sha256": "d" * 64,
        "metrics": {"accuracy": (overlapping + clean) / 1200},
        "correct_images": pack_bits(correct),
    }
    write_json(path, content | changed)
    return path


def write_released(folder: Path, dataset: str, **changed: Any) -> Path:
    """Write a zero-shot result of a released model with the images of `write_zeroshot`."""
    released = {"run": {"name": "RN50:yfcc15m"}, "epoch": None}
    return write_zeroshot(folder / "released", dataset, **released, **changed)


def test_rows_per_corpus_and_test_set_are_in_the_order_of_the_paper(
    tmp_path: Path, report: Callable[..., int]
) -> None:
    names = [("yfcc15m", "imagenet"), ("cc3m", "imagenet"), ("cc3m", "birdsnap"), ("cc3m", "mine")]
    files = [write_overlap(tmp_path, *name, overlapping=30 + index) for index, name in enumerate(names)]
    csv = tmp_path / "tables" / "overlap.csv"
    assert report("table", "overlap", "--results", *files, "--csv", csv) == 0
    table = pd.read_csv(csv)
    assert list(zip(table.corpus, table.dataset, strict=True)) == [
        ("cc3m", "birdsnap"),
        ("cc3m", "imagenet"),
        ("cc3m", "mine"),
        ("yfcc15m", "imagenet"),
    ]
    assert table.overlapping.tolist() == [32, 31, 33, 30]
    assert table.share.tolist() == pytest.approx([32 / 1200, 31 / 1200, 33 / 1200, 30 / 1200])
    text = csv.with_suffix(".md").read_text()
    assert "| ImageNet | 1,200 | 10 | 31 | 2.58% |" in text
    assert "Training images: 2,890,000, not comparable: 10,000." in text
    assert "differ in at most 20 bits." in text
    assert csv.with_suffix(".tex").exists() and csv.with_name("overlap.sources.json").exists()


def test_accuracies_with_and_without_overlapping_images(tmp_path: Path, report: Callable[..., int]) -> None:
    files = [
        write_overlap(tmp_path, "cc3m", "gtsrb"),
        write_overlap(tmp_path, "cc3m", "imagenet", overlapping=0),
        *(write_zeroshot(tmp_path, "gtsrb", seed=seed, overlapping=seed) for seed in (1, 2)),
        write_zeroshot(tmp_path, "gtsrb", "clip", clean=0, overlapping=2),
        write_zeroshot(tmp_path, "imagenet"),
    ]
    csv = tmp_path / "tables" / "overlap.csv"
    assert report("table", "overlap", "--results", *files, "--csv", csv) == 0
    table = pd.read_csv(csv).set_index(["dataset", "objective", "seed"])
    assert len(table) == 4
    second = table.loc["gtsrb", "cloob", 2]
    assert (second.accuracy, second.accuracy_clean) == pytest.approx((402 / 1200, 400 / 1198))
    assert second.accuracy_overlap == second.overlap_high == 1
    assert second.difference == pytest.approx(402 / 1200 - 400 / 1198)
    assert second.p_value == pytest.approx((400 / 1198) ** 2)
    imagenet = table.loc["imagenet", "cloob", 1]
    assert imagenet.accuracy == imagenet.accuracy_clean == pytest.approx(401 / 1200)
    assert pd.isna(imagenet.p_value)
    text = csv.with_suffix(".md").read_text()
    assert "Accuracy: Conceptual Captions, RN50, epoch 31" in text
    assert "| GTSRB | CLIP | 1 | 0.17 | 0.00 | 100.00 |" in text and "| **<0.001** |" in text
    # 1.5 of 2 images: the mean over seeds.
    assert "| GTSRB | CLOOB | 2 | 33.46 | 33.39 | 75.00 | +0.07 [" in text
    assert "Bonferroni's correction for the 2 rows" in text
    assert "| ImageNet | CLOOB" not in text  # nothing overlaps


def test_missing_results_are_listed_if_allowed(tmp_path: Path, report: Callable[..., int]) -> None:
    zeroshot = write_zeroshot(tmp_path, "gtsrb")
    files = [write_overlap(tmp_path, "cc3m", "gtsrb"), zeroshot, tmp_path / "overlap" / "absent.json"]
    files.append(zeroshot.with_name("ucf101.json"))
    csv = tmp_path / "tables" / "overlap.csv"
    assert report("table", "overlap", "--results", *files, "--csv", csv) == 2
    assert report("table", "overlap", "--results", *files, "--csv", csv, "--allow-missing") == 0
    text = csv.with_suffix(".md").read_text()
    assert "| GTSRB | CLOOB | 1 |" in text
    assert "absent.json" in text and "ucf101.json" in text


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"dataset_sha256": "e" * 64}, "its test images are not those of"),
        ({"images": 1199}, "its test images are not those of"),
        ({"correct_images": "%"}, "correct_images: not base64"),
        ({"correct_images": "AAAA"}, "correct_images: 24 bits, not one for each of 1,200 images"),
        ({"correct_images": None}, "correct_images is missing"),
        ({"metrics": {"accuracy": 0.5}}, "correct_images do not give metrics.accuracy"),
        ({"metrics": {}}, "correct_images do not give metrics.accuracy"),
    ],
)
def test_zeroshot_result_that_does_not_fit_is_a_one_line_error(
    tmp_path: Path,
    report: Callable[..., int],
    capsys: pytest.CaptureFixture[str],
    changed: dict[str, Any],
    message: str,
) -> None:
    files = [write_overlap(tmp_path, "cc3m", "gtsrb"), write_zeroshot(tmp_path, "gtsrb", **changed)]
    assert report("table", "overlap", "--results", *files, "--csv", tmp_path / "overlap.csv") == 2
    [line] = capsys.readouterr().err.splitlines()
    assert f"{files[1]}: " in line and message in line and "delete" in line


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"protocol": "zeroshot"}, "protocol is zeroshot"),
        ({"matches": []}, "overlapping is 2, but there are 0 matches"),
        ({"images": "many"}, "images is 'many'"),
        ({"share": None}, "share is missing"),
        ({"training_images": 1.5}, "training_images is 1.5"),
        ({"distance": [20]}, "distance is a list"),
        ({"overlapping_images": pack_bits([True] * 1200)}, "overlapping is 2, but 1200 bits are set"),
        ({"overlapping_images": "AAAA"}, "overlapping_images: 24 bits, not one for each of 1,200 images"),
    ],
)
def test_other_result_is_an_error_that_names_the_file_and_key(
    tmp_path: Path, changed: dict[str, Any], message: str
) -> None:
    path = write_overlap(tmp_path, "cc3m", "gtsrb", **changed)
    with pytest.raises(InputError) as error:
        read_overlaps([path])
    start = f"{path}: not a result of `cloob evaluate overlap`: {message}; delete it"
    assert str(error.value).startswith(start)


@pytest.mark.parametrize("text", ["", "[", "null", "\0\0", "[" * 100_000, r'{"dataset": "\ud800"}'])
def test_damaged_result_is_a_one_line_error(tmp_path: Path, text: str) -> None:
    path = tmp_path / "gtsrb.json"
    path.write_text(text)
    with pytest.raises(InputError, match=r"gtsrb\.json: not .*delete it and run") as error:
        read_overlaps([path])
    assert "\n" not in str(error.value)


def test_duplicate_test_set_is_an_error(tmp_path: Path) -> None:
    path = write_overlap(tmp_path, "cc3m", "gtsrb")
    with pytest.raises(InputError, match="cc3m and gtsrb are given twice"):
        read_overlaps([path, path])


def test_released_models_have_rows_if_their_training_corpus_is_known(
    tmp_path: Path, report: Callable[..., int]
) -> None:
    files = [write_overlap(tmp_path, "cc3m", "gtsrb"), write_zeroshot(tmp_path, "gtsrb", overlapping=2)]
    path, model = write_released(tmp_path, "gtsrb", clean=300), "RN50/CLIP (open_clip)/final"
    known, unknown = f"YFCC15M/{model}/cc3m={path}", f"CC12M/{model}={path}"
    csv = tmp_path / "tables" / "overlap.csv"
    assert report("table", "overlap", "--results", *files, "--baselines", known, unknown, "--csv", csv) == 0
    table = pd.read_csv(csv).set_index("released")
    row = table.loc["CLIP (open_clip), RN50, YFCC15M"]
    assert len(table) == 2
    assert (row.corpus, row.architecture, row.accuracy_overlap) == ("cc3m", "RN50", 0.5)
    assert (row.accuracy, row.accuracy_clean) == pytest.approx((301 / 1200, 300 / 1198))
    assert row[["objective", "recipe", "seed", "epoch"]].isna().all()
    text = csv.with_suffix(".md").read_text()
    [runs, released] = text.partition("Accuracy of released models: Conceptual Captions")[::2]
    assert "| GTSRB | CLOOB | 1 | 33.50 |" in runs and "open_clip" not in runs
    assert "| GTSRB | CLIP (open_clip), RN50, YFCC15M | 1 | 25.08 | 25.04 | 50.00 |" in released
    assert "Bonferroni's correction for the 2 rows" in text


def test_without_released_models_the_table_has_no_column_for_them(
    tmp_path: Path, report: Callable[..., int]
) -> None:
    files = [write_overlap(tmp_path, "cc3m", "gtsrb"), write_zeroshot(tmp_path, "gtsrb")]
    csv = tmp_path / "tables" / "overlap.csv"
    assert report("table", "overlap", "--results", *files, "--csv", csv) == 0
    assert "released" not in pd.read_csv(csv)


def test_missing_results_of_released_models_are_listed_with_allow_missing(
    tmp_path: Path, report: Callable[..., int]
) -> None:
    files = [write_overlap(tmp_path, "cc3m", "gtsrb")]
    baseline = f"YFCC15M/RN50/CLOOB/28/cc3m={tmp_path}/missing.json"
    arguments = ("--results", *files, "--baselines", baseline, "--csv", tmp_path / "overlap.csv")
    assert report("table", "overlap", *arguments) == 2
    assert report("table", "overlap", "--allow-missing", *arguments) == 0
    assert f"{tmp_path}/missing.json" in (tmp_path / "overlap.md").read_text()


def test_table_without_any_overlap_lists_what_is_missing(tmp_path: Path, report: Callable[..., int]) -> None:
    missing, csv = tmp_path / "overlap" / "cc3m" / "gtsrb.json", tmp_path / "tables" / "overlap.csv"
    files = [missing, write_zeroshot(tmp_path, "gtsrb")]
    assert report("table", "overlap", "--results", *files, "--csv", csv, "--allow-missing") == 0
    text = csv.with_suffix(".md").read_text()
    assert str(missing) in text and "bits" not in text
    assert pd.read_csv(csv).empty and "tabular" not in csv.with_suffix(".tex").read_text()
