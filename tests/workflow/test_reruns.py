"""What is evaluated again after a change of the config that leaves the set of input files as it is."""

import re

import pytest

# In the place of `python -m cloob`: writes files with the names of all outputs of the rules in the test.
PROGRAM = """#!/bin/bash
for argument; do
    case $argument in
    --out=* | --*-dir=*)
        touch "${argument#*=}"/{pairs,imagenetv2_{threshold,top_images}}.json
        touch "${argument#*=}"/open_clip_{config.json,model.safetensors}
        ;;
    esac
done
"""
VARIANTS = ("imagenetv2_threshold", "imagenetv2_top_images")


@pytest.fixture
def settings(tmp_path):
    """A released model, two test sets of the same classes, and one of three splits for retrieval."""
    for folder in ("a", "b", "images"):
        (tmp_path / folder).mkdir()
    for file in ("weights.pt", "splits.json"):
        (tmp_path / file).touch()
    names = {"pretraining": "A", "architecture": "B", "method": "C"}
    files = {"karpathy": f"{tmp_path}/splits.json", "images": f"{tmp_path}/images"}
    folders = zip(VARIANTS, ("a", "b"), strict=True)
    return {
        "results": f"{tmp_path}/results",
        "released_checkpoints": {"m": {"open_clip": "RN50", "pretrained": f"{tmp_path}/weights.pt", **names}},
        "testsets": {name: {"folder": f"{tmp_path}/{folder}"} for name, folder in folders},
        "evaluate": {
            "testsets": list(VARIANTS),
            "retrieval_sets": {"cc3m_validation": None, "pairs": {"title": "Pairs", "split": "val"} | files},
        },
    }


def test_a_change_of_folders_or_split_evaluates_again(snakemake, config_with, settings, tmp_path):
    (tmp_path / "python").write_text(PROGRAM)
    (tmp_path / "python").chmod(0o755)
    results = [f"zeroshot/{VARIANTS[0]}.json", "retrieval/pairs.json"]
    targets = [f"{tmp_path}/results/evaluate/released/m/{name}" for name in results]
    arguments = [*targets, "--cores", 2, "--nolock", "--configfile", config_with(settings)]
    run = snakemake(*arguments, programs=[tmp_path])
    assert run.returncode == 0, run.stderr
    first, second = (settings["testsets"][name] for name in VARIANTS)
    first["folder"], second["folder"] = second["folder"], first["folder"]
    settings["evaluate"]["retrieval_sets"]["pairs"]["split"] = "test"
    config_with(settings)
    plan = snakemake("-n", *arguments)
    jobs = re.findall(r"^rule (\w+):", plan.stdout, re.MULTILINE)
    assert sorted(jobs) == ["released_image_text", "released_zeroshot"], plan.stderr
