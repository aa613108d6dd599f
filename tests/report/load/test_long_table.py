"""The long table of result files: metrics per kind of features, and results that cannot be combined."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from cloob.common.errors import InputError
from cloob.report.load.long_table import read_long_table
from tests.helpers.repository import ROOT
from tests.helpers.result_writers import run_of, write_result

PAPER = ROOT / "config" / "paper_results.csv"


def change(path: Path, **content: object) -> Path:
    path.write_text(json.dumps(json.loads(path.read_text()) | content))
    return path


def write_probe(root: Path, seed: int, *features: str, objective: str = "clip", **content: object) -> Path:
    """Write a linear-probe result: accuracy 0.4 after the projection, 0.2 before it."""
    path = write_result(root, run_of(objective, seed), 31, "linear_probe", "gtsrb")
    values = {"after_projection": 0.4, "before_projection": 0.2}
    probes = [
        {"features": name, "metrics": {"accuracy": values[name]}, "converged": True} for name in features
    ]
    return change(path, metrics=probes[0]["metrics"], probes=probes, **content)


def test_metrics_of_further_features_have_a_suffix(tmp_path: Path) -> None:
    two = write_probe(tmp_path, 1, "after_projection", "before_projection")
    single = write_probe(tmp_path, 2, "after_projection")
    table = read_long_table([single, two], "linear_probe")
    assert list(table[["seed", "metric", "value"]].itertuples(index=False, name=None)) == [
        (1, "accuracy", 0.4),
        (1, "accuracy_before_projection", 0.2),
        (2, "accuracy", 0.4),
    ]


@pytest.mark.parametrize("features", [("before_projection", "after_projection"), ("before_projection",)])
def test_files_with_different_first_features_are_an_error(tmp_path: Path, features: tuple[str, ...]) -> None:
    other = write_probe(tmp_path, 1, "after_projection", "before_projection", objective="cloob")
    path = write_probe(tmp_path, 1, *features)
    message = f"{path}: its first features are before_projection, but those of {other} are after_projection;"
    with pytest.raises(InputError, match=message):
        read_long_table([other, path], "linear_probe")


@pytest.mark.parametrize("features", ["after_projection", "before_projection"])
def test_section_titles_name_the_features(report: Callable, tmp_path: Path, features: str) -> None:
    other = ({"after_projection", "before_projection"} - {features}).pop()
    paths = [write_probe(tmp_path, 1, features, other), write_probe(tmp_path, 1, features, objective="cloob")]
    csv = tmp_path / "linear_probe.csv"
    assert report("table", "linear_probe", "--results", *paths, "--paper", PAPER, "--csv", csv) == 0
    first, second = csv.with_suffix(".md").read_text().split("\n## ")[1:]
    assert f"features {features.replace('_', ' the ')}\n" in first
    assert f"features {other.replace('_', ' the ')}\n" in second
    accuracy = {"after_projection": "40.00", "before_projection": "20.00"}
    assert f"| GTSRB | {accuracy[features]} | {accuracy[features]} |" in first
    assert f"| GTSRB | {accuracy[other]} | — |" in second


@pytest.mark.parametrize(
    ("key", "value", "other"),
    [
        ("precision", "float32", "bfloat16"),
        ("training", {"seed": 0}, {"seed": 1}),
        ("dataset_sha256", "a", "b"),
        ("spec_sha256", "a", "b"),
    ],
)
@pytest.mark.parametrize("runs", [[("clip", 1), ("clip", 2)], [("clip", 1), ("cloob", 1)]])
def test_results_that_are_averaged_or_compared_but_evaluated_differently_are_an_error(
    tmp_path: Path, key: str, value: object, other: object, runs: list[tuple[str, int]]
) -> None:
    paths = [write_result(tmp_path, run_of(*run), 31, "zeroshot", "gtsrb", accuracy=1) for run in runs]
    change(paths[0], **{key: value})
    assert len(read_long_table(paths)) == 2  # files of an older version lack the key
    change(paths[1], **{key: other})
    with pytest.raises(InputError, match=f"^{paths[1]}: {key} differs from {paths[0]}; evaluate it again.*$"):
        read_long_table(paths)
    another = write_result(tmp_path, run_of("clip", 1), 128, "zeroshot", "gtsrb", accuracy=1)
    change(another, **{key: other})
    assert len(read_long_table([paths[0], another])) == 2  # another column of the table


def test_intervals_over_test_images_belong_to_their_metric(tmp_path: Path) -> None:
    path = write_result(tmp_path, run_of("clip", 1), 31, "zeroshot", "gtsrb", accuracy=0.4, accuracy_top5=0.8)
    change(path, intervals={"accuracy": [0.38, 0.42]})
    table = read_long_table([path]).set_index("metric")[["image_low", "image_high"]]
    assert list(table.loc["accuracy"]) == [0.38, 0.42]
    assert table.loc["accuracy_top5"].isna().all()
    change(path, intervals={"accuracy": [0.38]})
    with pytest.raises(InputError, match=f"^{path}: intervals.accuracy is not \\[low, high\\]; evaluate"):
        read_long_table([path])
