"""Result files that do not belong into one table: what is kept apart, and what is refused."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from cloob.report.load.results import read_results

from cloob.common.errors import InputError
from tests.helpers.repository import ROOT
from tests.helpers.written_reports import run_of, write_result

PAPER = ROOT / "config" / "paper_results.csv"


def change(path: Path, **content: object) -> Path:
    path.write_text(json.dumps(json.loads(path.read_text()) | content))
    return path


def probed(root: Path, seed: int, *kinds: str, objective: str = "clip", **content: object) -> Path:
    """A linear probe's result: 0.4 after the projection, 0.2 before it."""
    path = write_result(root, run_of(objective, seed), 31, "linear_probe", "gtsrb")
    values = {"after_projection": 0.4, "before_projection": 0.2}
    probes = [{"features": kind, "metrics": {"accuracy": values[kind]}, "converged": True} for kind in kinds]
    return change(path, metrics=probes[0]["metrics"], probes=probes, **content)


def test_metrics_of_probes_are_told_apart_by_their_features(tmp_path: Path) -> None:
    both = probed(tmp_path, 1, "after_projection", "before_projection")
    one = probed(tmp_path, 2, "after_projection")
    table = read_results([one, both], "linear_probe")
    assert list(table[["seed", "metric", "value"]].itertuples(index=False, name=None)) == [
        (1, "accuracy", 0.4),
        (1, "accuracy_before_projection", 0.2),
        (2, "accuracy", 0.4),
    ]


@pytest.mark.parametrize("kinds", [("before_projection", "after_projection"), ("before_projection",)])
def test_a_bare_accuracy_is_not_of_two_kinds_of_features(tmp_path: Path, kinds: tuple[str, ...]) -> None:
    there = probed(tmp_path, 1, "after_projection", "before_projection", objective="cloob")
    path = probed(tmp_path, 1, *kinds)
    message = f"{path}: its first features are before_projection, those of {there} are after_projection; make"
    with pytest.raises(InputError, match=message):
        read_results([there, path], "linear_probe")


@pytest.mark.parametrize("kind", ["after_projection", "before_projection"])
def test_a_section_is_called_after_the_features_that_it_is_of(
    report: Callable, tmp_path: Path, kind: str
) -> None:
    other = ({"after_projection", "before_projection"} - {kind}).pop()
    paths = [probed(tmp_path, 1, kind, other), probed(tmp_path, 1, kind, objective="cloob")]
    csv = tmp_path / "linear_probe.csv"
    assert report("table", "linear_probe", "--results", *paths, "--paper", PAPER, "--csv", csv) == 0
    first, second = csv.with_suffix(".md").read_text().split("\n## ")[1:]
    assert f"features {kind.replace('_', ' the ')}\n" in first
    assert f"features {other.replace('_', ' the ')}\n" in second
    accuracy = {"after_projection": "40.00", "before_projection": "20.00"}
    assert f"| GTSRB | {accuracy[kind]} | {accuracy[kind]} |" in first
    assert f"| GTSRB | {accuracy[other]} | — |" in second


@pytest.mark.parametrize(
    ("key", "one", "other"),
    [
        ("precision", "float32", "bfloat16"),
        ("training", {"seed": 0}, {"seed": 1}),
        ("dataset_sha256", "a", "b"),
        ("spec_sha256", "a", "b"),
    ],
)
def test_seeds_that_were_evaluated_differently_are_not_averaged(
    tmp_path: Path, key: str, one: object, other: object
) -> None:
    paths = [
        write_result(tmp_path, run_of("clip", seed), 31, "zeroshot", "gtsrb", accuracy=1) for seed in (1, 2)
    ]
    change(paths[0], **{key: one})
    assert len(read_results(paths)) == 2  # an older file does not say
    change(paths[1], **{key: other})
    with pytest.raises(
        InputError, match=f"^{paths[1]}: its {key} is not that of {paths[0]}; make it again.*$"
    ):
        read_results(paths)
    another = write_result(tmp_path, run_of("clip", 1), 128, "zeroshot", "gtsrb", accuracy=1)
    change(another, **{key: other})
    assert len(read_results([paths[0], another])) == 2  # of another column
