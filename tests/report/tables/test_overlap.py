"""The table of train-test overlap."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from cloob.common.errors import InputError
from cloob.common.json_files import write_json
from cloob.report.tables.overlap import read_overlap


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
        "matches": matches,
    }
    write_json(path, content | changed)
    return path


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


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"protocol": "zeroshot"}, "protocol is zeroshot"),
        ({"matches": []}, "overlapping is 2, but there are 0 matches"),
        ({"images": "many"}, "images is 'many'"),
        ({"share": None}, "share is missing"),
        ({"training_images": 1.5}, "training_images is 1.5"),
        ({"distance": [20]}, "distance is a list"),
    ],
)
def test_other_result_is_an_error_that_names_the_file_and_key(
    tmp_path: Path, changed: dict[str, Any], message: str
) -> None:
    path = write_overlap(tmp_path, "cc3m", "gtsrb", **changed)
    with pytest.raises(InputError) as error:
        read_overlap([path])
    start = f"{path}: not a result of `cloob evaluate overlap`: {message}; delete it"
    assert str(error.value).startswith(start)


@pytest.mark.parametrize("text", ["", "[", "null", "\0\0", "[" * 100_000, r'{"dataset": "\ud800"}'])
def test_damaged_result_is_a_one_line_error(tmp_path: Path, text: str) -> None:
    path = tmp_path / "gtsrb.json"
    path.write_text(text)
    with pytest.raises(InputError, match=r"gtsrb\.json: not .*delete it and run") as error:
        read_overlap([path])
    assert "\n" not in str(error.value)


def test_duplicate_test_set_is_an_error(tmp_path: Path) -> None:
    path = write_overlap(tmp_path, "cc3m", "gtsrb")
    with pytest.raises(InputError, match="cc3m and gtsrb are given twice"):
        read_overlap([path, path])
