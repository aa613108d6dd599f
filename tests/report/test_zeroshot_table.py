"""The zero-shot table: every number in the CSV, the paper's form in Markdown, from result files alone."""

import json
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest


@pytest.fixture
def results(write_result: Callable) -> list[Path]:
    """CC: CLIP and CLOOB with two seeds, at two epochs for CLIP; YFCC: CLIP alone; in no good order."""
    return [
        write_result("imagenet", 0.5, seed=2),
        write_result("birdsnap", 0.3, seed=2, classes=4),
        write_result("birdsnap", 0.2, seed=1, classes=4),
        write_result("imagenet", 0.4, seed=1),
        write_result("birdsnap", 0.6, objective="infoloob_hopfield", classes=4),
        write_result("imagenet", 0.7, objective="infoloob_hopfield"),
        write_result("imagenet", 0.7, objective="infoloob_hopfield", seed=2),
        write_result("imagenet", 0.9, epoch=128),
        write_result("birdsnap", 0.25, corpus="yfcc", classes=4),
    ]


GOLDEN = """\
# Zero-shot accuracy (%) · The small world: not the paper's figures

## Conceptual Captions, RN50

| Test set | CLIP, epoch 31 | CLOOB, epoch 31 | CLIP, epoch 128 | Chance |
| --- | ---: | ---: | ---: | ---: |
| Birdsnap | 25.00 ± 7.07 | 60.00 | — | 25.00 |
| ImageNet | 45.00 ± 7.07 | 70.00 ± 0.00 | 90.00 | 10.00 |
| Mean | 35.00 ± 7.07 | 65.00 | — | 17.50 |
| Mean of accuracy / chance | 2.75 ± 0.49 | 4.70 | — | 1.00 |
| Seeds | 2 | 2 | 1 |  |

## YFCC, RN50

| Test set | CLIP, epoch 31 | Chance |
| --- | ---: | ---: |
| Birdsnap | 25.00 | 25.00 |
| Mean | 25.00 | 25.00 |
| Mean of accuracy / chance | 1.00 | 1.00 |
| Seeds | 1 |  |

Mean ± sample standard deviation over the seeds; one seed has no deviation; — is a missing result.
Chance is one over the number of classes. Means over the sets: of the seeds that have all of them.
"""


def make(report: Callable, results: list[Path], out: Path) -> tuple[Path, Path]:
    csv, markdown = out / "zeroshot.csv", out / "zeroshot.md"
    assert report("zeroshot", "--results", *results, "--csv", csv) == 0
    return csv, markdown


def test_the_papers_form(report: Callable, results: list[Path], tmp_path: Path) -> None:
    _, markdown = make(report, results, tmp_path / "tables")
    assert markdown.read_text() == GOLDEN


def test_the_long_form_holds_every_metric_exactly(
    report: Callable, results: list[Path], tmp_path: Path
) -> None:
    csv, _ = make(report, results, tmp_path / "tables")
    table = pd.read_csv(csv)
    assert list(table.columns) == (
        [
            "corpus",
            "architecture",
            "objective",
            "recipe",
            "seed",
            "epoch",
            "dataset",
            "metric",
            "value",
            "chance",
        ]
    )
    # Nine results of three metrics, without the top five of the five sets of four classes.
    assert len(table) == 9 * 3 - 4
    row = table[(table.dataset == "imagenet") & (table.seed == 2) & (table.objective == "infonce")]
    assert dict(zip(row.metric, row.value, strict=True)) == {
        "accuracy": 0.5,
        "accuracy_top5": 1.0,
        "mean_per_class_accuracy": 0.5,
    }
    assert dict(zip(row.metric, row.chance, strict=True)) == {
        "accuracy": 0.1,
        "accuracy_top5": 0.5,
        "mean_per_class_accuracy": 0.1,
    }


def test_the_order_of_the_files_changes_nothing(
    report: Callable, results: list[Path], tmp_path: Path
) -> None:
    first = make(report, results, tmp_path / "first")
    second = make(report, results[::-1], tmp_path / "second")
    for one, other in zip(first, second, strict=True):
        assert one.read_bytes() == other.read_bytes()
    assert (tmp_path / "first/zeroshot.sources.json").read_bytes() == (
        tmp_path / "second/zeroshot.sources.json"
    ).read_bytes()


def test_the_sources_are_named_with_their_hashes(
    report: Callable, results: list[Path], tmp_path: Path
) -> None:
    csv, _ = make(report, results, tmp_path / "tables")
    sources = json.loads((csv.parent / "zeroshot.sources.json").read_text())
    assert len(sources["inputs"]) == len(results)
    for each in sources["inputs"]:
        assert (csv.parent / each["path"]).is_file()
        assert each["path"].startswith("../evaluate/cc-") or each["path"].startswith("../evaluate/yfcc-")
        assert len(each["sha256"]) == 64
    assert "pandas" in sources["versions"]
    assert sources["commit"] is None or len(sources["commit"]) == 40


def test_a_result_given_twice_is_refused(
    report: Callable, results: list[Path], tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    again = tmp_path / "copy.json"
    again.write_bytes(results[0].read_bytes())
    csv = tmp_path / "t.csv"
    assert report("zeroshot", "--results", *results, again, "--csv", csv) == 2
    assert "given twice" in capsys.readouterr().err
    assert not csv.exists()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "not JSON"),
        ('{"run": {}}', "not a result of `cloob evaluate zeroshot`"),
        ('{"run": {"objective": "siglip"}}', "objective 'siglip' is unknown; there are infonce"),
    ],
)
def test_what_is_no_result_is_refused(
    report: Callable, tmp_path: Path, capsys: pytest.CaptureFixture, text: str, message: str
) -> None:
    path = tmp_path / "result.json"
    path.write_text(text)
    assert report("zeroshot", "--results", path, "--csv", tmp_path / "t.csv") == 2
    error = capsys.readouterr().err.strip()
    assert message in error
    assert str(path) in error
    assert "\n" not in error
