"""Targets identified by their paths, and abbreviated by brace expansion."""

import subprocess
from pathlib import Path

import pytest

from cloob.common.errors import InputError
from cloob.report.load.targets import brace_paths, read_targets


def test_path_identifies_run_epoch_protocol_and_dataset() -> None:
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
def test_any_other_path_is_an_error(path: str) -> None:
    with pytest.raises(InputError, match="not of the form RUN/epoch_N"):
        read_targets([Path(path)])


def test_bash_expands_abbreviated_paths_to_the_same_paths() -> None:
    run = "r/evaluate/cc3m-clip-RN50-cc3m-seed"
    paths = [
        f"{run}{seed}/epoch_31/zeroshot/{name}.json" for seed in (1, 2, 10) for name in ("gtsrb", "ucf101")
    ]
    paths += [f"{run}3/epoch_31/zeroshot/gtsrb.json", "r/train/cc3m-infoloob-RN50-cc3m-seed1/metrics.jsonl"]
    abbreviated = brace_paths(map(Path, paths))
    assert abbreviated == [
        f"{run}{{1,2,10}}/epoch_31/zeroshot/{{gtsrb,ucf101}}.json",
        f"{run}3/epoch_31/zeroshot/gtsrb.json",
        "r/train/cc3m-infoloob-RN50-cc3m-seed1/metrics.jsonl",
    ]
    expanded = subprocess.run(
        ["bash", "-c", f"echo {' '.join(abbreviated)}"], capture_output=True, text=True, check=True
    )
    assert sorted(expanded.stdout.split()) == sorted(paths)
