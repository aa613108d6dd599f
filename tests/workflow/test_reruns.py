"""Which finished jobs run again after a change of the config that leaves the set of input files as it is."""

import ast
import re

import pytest

from cloob.workflow import corpora, evaluation, runs, search
from tests.helpers.configs import config_from
from tests.workflow.test_shell_commands import RULES, directive_blocks

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


def test_folders_and_split_but_not_resources_evaluate_again(snakemake, config_with, settings, tmp_path):
    (tmp_path / "python").write_text(PROGRAM)
    (tmp_path / "python").chmod(0o755)
    results = [f"zeroshot/{VARIANTS[0]}.json", "retrieval/pairs.json"]
    targets = [f"{tmp_path}/results/evaluate/released/m/{name}" for name in results]
    arguments = [*targets, "--cores", 2, "--nolock", "--configfile", config_with(settings)]
    run = snakemake(*arguments, programs=[tmp_path])
    assert run.returncode == 0, run.stderr
    # Resources change no results.
    settings["evaluate"] |= {"workers": 1}
    config_with(settings)
    assert "Nothing to be done" in snakemake("-n", *arguments).stdout
    first, second = (settings["testsets"][name] for name in VARIANTS)
    first["folder"], second["folder"] = second["folder"], first["folder"]
    settings["evaluate"]["retrieval_sets"]["pairs"]["split"] = "test"
    config_with(settings)
    plan = snakemake("-n", *arguments)
    jobs = re.findall(r"^rule (\w+):", plan.stdout, re.MULTILINE)
    assert sorted(jobs) == ["released_image_text", "released_zeroshot"], plan.stderr


def test_numbers_of_processes_and_workers_are_parameters_that_snakemake_does_not_compare():
    found = 0
    for block in (block for path in RULES for block in directive_blocks(path.read_text(), "params")):
        for parameter in ast.parse(f"params({block})", mode="eval").body.keywords:
            if parameter.arg in ("processes", "workers", "resources", "setup"):
                assert [argument.arg for argument in parameter.value.args.args] == ["wildcards", "input"]
                found += 1
    assert found == 17
    config, split, run = config_from(), corpora.Split("cc3m", "train"), "cc3m-cloob-RN50-cc3m-seed1"
    [trial, *_] = search.all_trials(config, "cc3m")
    compared = [
        *(*corpora.fetch_flags(config, "cc3m"), *corpora.pack_flags(config, split)),
        *(*runs.train_flags(config, run), *search.trial_flags(config, "cc3m", trial.objective, trial.name)),
        *(*evaluation.feature_flags(config), *evaluation.overlap_flags(config)),
        *evaluation.prepare_testset_flags(config, "gtsrb"),
    ]
    pattern = re.compile("--(processes|threads|workers|checkpoint-interval|node-local-dir|wandb)")
    assert not list(filter(pattern.match, compared))
