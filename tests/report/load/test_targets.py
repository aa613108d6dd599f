"""Paths of results: what they are of, and the short form of many that a shell makes long again."""

import subprocess
from pathlib import Path

import pytest

from cloob.common.errors import InputError
from cloob.report.load.targets import in_braces, marker, read_targets


def test_a_path_says_what_it_is_of() -> None:
    result = Path("r/evaluate/yfcc-infoloob_hopfield-ViT-B-32-yfcc-seed12/epoch_28/zeroshot/gtsrb.json")
    log = Path("r/train/cc-infonce-RN50-cc-seed1/metrics.jsonl")
    assert read_targets([result, log]).to_dict("records") == [
        {
            "corpus": "yfcc",
            "architecture": "ViT-B-32",
            "objective": "infoloob_hopfield",
            "recipe": "yfcc",
            "seed": 12,
            "epoch": 28,
            "protocol": "zeroshot",
            "dataset": "gtsrb",
            "path": result,
        },
        {
            "corpus": "cc",
            "architecture": "RN50",
            "objective": "infonce",
            "recipe": "cc",
            "seed": 1,
            "epoch": -1,
            "protocol": "train",
            "dataset": "",
            "path": log,
        },
    ]


@pytest.mark.parametrize("path", ["a.json", "cc-siglip-RN50-cc-seed1/metrics.jsonl", "x/cc-infonce/m.jsonl"])
def test_any_other_path_is_refused(path: str) -> None:
    with pytest.raises(InputError, match="not of the form RUN/epoch_N"):
        read_targets([Path(path)])


def test_braces_are_what_bash_expands_to_the_same_paths() -> None:
    run = "r/evaluate/cc-infonce-RN50-cc-seed"
    paths = [
        f"{run}{seed}/epoch_31/zeroshot/{name}.json" for seed in (1, 2, 10) for name in ("gtsrb", "ucf101")
    ]
    paths += [f"{run}3/epoch_31/zeroshot/gtsrb.json", "r/train/cc-infoloob-RN50-cc-seed1/metrics.jsonl"]
    short = in_braces(map(Path, paths))
    assert short == [
        f"{run}{{1,2,10}}/epoch_31/zeroshot/{{gtsrb,ucf101}}.json",
        f"{run}3/epoch_31/zeroshot/gtsrb.json",
        "r/train/cc-infoloob-RN50-cc-seed1/metrics.jsonl",
    ]
    typed = subprocess.run(
        ["bash", "-c", f"echo {' '.join(short)}"], capture_output=True, text=True, check=True
    )
    assert sorted(typed.stdout.split()) == sorted(paths)


def test_markers_go_on_after_z() -> None:
    assert [marker(place) for place in (0, 25, 26, 51, 52, 701, 702)] == (
        ["a", "z", "aa", "az", "ba", "zz", "aaa"]
    )
