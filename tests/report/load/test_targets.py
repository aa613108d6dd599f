"""Paths of results: what they are of, and the short form of many that a shell makes long again."""

import subprocess
from pathlib import Path

import pytest

from cloob.common.errors import InputError
from cloob.report.load.targets import in_braces, marker, read_targets


def test_a_path_says_what_it_is_of() -> None:
    result = Path("r/evaluate/yfcc15m-cloob-ViT-B-32-yfcc15m-seed12/epoch_28/zeroshot/gtsrb.json")
    log = Path("r/train/cc3m-clip-RN50-cc3m-seed1/metrics.jsonl")
    assert read_targets([result, log]).to_dict("records") == [
        {
            "corpus": "yfcc15m",
            "architecture": "ViT-B-32",
            "objective": "cloob",
            "recipe": "yfcc15m",
            "seed": 12,
            "epoch": 28,
            "protocol": "zeroshot",
            "dataset": "gtsrb",
            "path": result,
        },
        {
            "corpus": "cc3m",
            "architecture": "RN50",
            "objective": "clip",
            "recipe": "cc3m",
            "seed": 1,
            "epoch": -1,
            "protocol": "train",
            "dataset": "",
            "path": log,
        },
    ]


@pytest.mark.parametrize(
    "path", ["a.json", "cc3m-siglip-RN50-cc3m-seed1/metrics.jsonl", "x/cc3m-clip/m.jsonl"]
)
def test_any_other_path_is_refused(path: str) -> None:
    with pytest.raises(InputError, match="not of the form RUN/epoch_N"):
        read_targets([Path(path)])


def test_braces_are_what_bash_expands_to_the_same_paths() -> None:
    run = "r/evaluate/cc3m-clip-RN50-cc3m-seed"
    paths = [
        f"{run}{seed}/epoch_31/zeroshot/{name}.json" for seed in (1, 2, 10) for name in ("gtsrb", "ucf101")
    ]
    paths += [f"{run}3/epoch_31/zeroshot/gtsrb.json", "r/train/cc3m-infoloob-RN50-cc3m-seed1/metrics.jsonl"]
    short = in_braces(map(Path, paths))
    assert short == [
        f"{run}{{1,2,10}}/epoch_31/zeroshot/{{gtsrb,ucf101}}.json",
        f"{run}3/epoch_31/zeroshot/gtsrb.json",
        "r/train/cc3m-infoloob-RN50-cc3m-seed1/metrics.jsonl",
    ]
    typed = subprocess.run(
        ["bash", "-c", f"echo {' '.join(short)}"], capture_output=True, text=True, check=True
    )
    assert sorted(typed.stdout.split()) == sorted(paths)


def test_markers_go_on_after_z() -> None:
    assert [marker(place) for place in (0, 25, 26, 51, 52, 701, 702)] == (
        ["a", "z", "aa", "az", "ba", "zz", "aaa"]
    )
