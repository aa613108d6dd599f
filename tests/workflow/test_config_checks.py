"""What cannot be right in a config is told with the plan: one line each, with the key and the remedy."""

import json
import os
import shutil
import sys
from pathlib import Path

import pytest
import yaml

from tests.workflow.test_plan import CONFIG, ROOT

no_conda = pytest.mark.skipif(shutil.which("conda") is not None, reason="conda is on the PATH here")
SMALL = json.loads((ROOT / "config" / "architectures" / "RN_small.json").read_text())


def lines_of(run):
    """The lines on the config, of a plan that was refused."""
    assert run.returncode != 0, run.stdout
    said = run.stdout + run.stderr
    assert "Traceback" not in said
    return [line[4:] for line in said.splitlines() if line.startswith("  - ")]


def refused(snakemake, tmp_path_factory, text):
    path = tmp_path_factory.mktemp("config") / "changed.yaml"
    path.write_text(text)
    return lines_of(snakemake("-n", "--configfile", path))


MISREAD = """
title_suffix: 2024
allow_missing: "no"
recipes:
  cc3m:
    epochs: 1e2
    eval_epochs: 31
    learning_rate: 5e-4
    weight_decay: "0.1"
    micro_batch_size: 128.0
    compile: "true"
    crop_scale: .9e0
    adam_beta1: .nan
  1e5: null
  1: null
train:
  node_local_dir: no
  wandb_project:
  workers: 010
  workers: 8
download:
  timeout: 1:30
  user_agent: 2026-11-01
evaluate:
architectures:
  on: RN50
"""


@pytest.fixture(scope="module")
def misread(snakemake, tmp_path_factory):
    return refused(snakemake, tmp_path_factory, MISREAD)


@pytest.mark.parametrize(
    "said",
    [
        "label: 2024 is not of type 'string': put the text in quotes",
        "partial: 'no' is not of type 'boolean': 'no' is text; write no, without quotes",
        "recipes.cc3m.epochs: '1e2' is not of type 'integer': YAML 1.1 reads 1e2 as text; write 100",
        "recipes.cc3m.eval_epochs: 31 is not of type 'array': write a list: [31]",
        "recipes.cc3m.learning_rate: '5e-4' is not of type 'number': YAML 1.1 reads 5e-4 as text; write 5.0e-4",
        "recipes.cc3m.weight_decay: '0.1' is not of type 'number': '0.1' is text; write 0.1, without quotes",
        "recipes.cc3m.micro_batch_size: 128.0 is not of type 'integer': write 128",
        "recipes.cc3m.compile: 'true' is not of type 'boolean': 'true' is text; write true, without quotes",
        "recipes.cc3m.crop_scale: '.9e0' is not of type 'number': YAML 1.1 reads .9e0 as text; write .9e+0",
        "recipes.1e5: None is not of type 'object': it is empty",
        "train.node_local_dir: False is not of type 'string': yes, no, on, off, true and false are truth values",
        "train.wandb_project: None is not of type 'string': it is empty: give a text in quotes,",
        "evaluate: None is not of type 'object': it is empty: give its content, indented, or delete the line",
        "line 13: recipes.cc3m.adam_beta1: .nan is not a finite number",
        "line 15: key recipes.1 is not read as text; put it in quotes",
        "line 19: train.workers: YAML reads 010 as 8 (base 8)",
        "line 20: key train.workers is given twice, first in line 19; delete one",
        "line 22: download.timeout: YAML reads 1:30 as 90 (base 60)",
        "line 23: download.user_agent: YAML reads 2026-11-01 as a date; put it in quotes",
        "line 26: key architectures.on is not read as text; put it in quotes",
    ],
)
def test_what_yaml_reads_otherwise_than_it_looks_is_told_by_its_key(misread, said):
    assert len([line for line in misread if said in line]) == 1, misread


def test_numbers_of_json_and_of_the_command_line_are_checked_as_those_of_yaml(snakemake, tmp_path):
    path = tmp_path / "changed.json"
    changed = {"adam_eps": float("nan"), "weight_decay": float("inf")}
    path.write_text(json.dumps({"recipes": {"cc3m": changed}}))
    given = ("--configfile", path, "--config", "recipes={cc3m: {learning_rate: 5e-4}}")
    assert [line.partition(" (")[0] for line in lines_of(snakemake("-n", *given))] == [
        "recipes.cc3m.epsilon: nan is not of type 'number'",
        "recipes.cc3m.learning_rate: '5e-4' is not of type 'number': YAML 1.1 reads 5e-4 as text; write 5.0e-4",
        "recipes.cc3m.weight_decay: inf is not of type 'number'",
    ]


def bad_names():
    names = ["a/b", "a b", "a{run}", "..", ".", ".a", "", "a\nb", "a\n", "é", "a-b", "$(x)", "<a>"]
    return {
        "architectures": dict.fromkeys(names, "RN50"),
        "testsets": dict.fromkeys(names),
        "released": dict.fromkeys(names),
        "recipes": dict.fromkeys(names, CONFIG["recipes"]["cc3m"]),
        "evaluate": {
            "image-text": dict.fromkeys(names, CONFIG["evaluate"]["retrieval_sets"]["cc3m_validation"])
        },
    }


def test_names_that_cannot_be_folders_and_wildcards_are_refused(snakemake, tmp_path_factory):
    content = bad_names()
    lines = refused(snakemake, tmp_path_factory, yaml.safe_dump(content))
    for key in ("architectures", "testsets", "released", "recipes"):
        for name in content[key]:
            said = f"{key}: {name!r} does not match (a name of "
            assert len([line for line in lines if line.startswith(said)]) == 1, lines
    assert sum(line.startswith("evaluate.retrieval_sets: ") for line in lines) == len(
        content["architectures"]
    )


@pytest.fixture(scope="module")
def inconsistent(snakemake, tmp_path_factory):
    folder = tmp_path_factory.mktemp("models")
    (folder / "no.json").write_text("[")
    (folder / "lacks.json").write_text(json.dumps(SMALL | {"text_cfg": {}}))
    (folder / "spec.yaml").write_text("name: gtsrb\nname: ucf101\n")
    content = {
        "architectures": {
            "RN51": "RN51-quickgelu",
            "mine": "config/mine.json",
            "long": f"{'x' * 300}.json",
            "no": str(folder / "no.json"),
            "lacks": str(folder / "lacks.json"),
            "small": "config/architectures/RN_small.json",
        },
        "recipes": {
            "tiny": CONFIG["recipes"]["cc3m"]
            | {
                "micro_batch_size": 1,
                "batch_size": 4,
                "epochs": 9,
                "eval_epochs": [1, 10],
                "embedding_eval_epochs": [11],
            }
        },
        "runs": [
            CONFIG["runs"][0],
            CONFIG["runs"][0] | {"seeds": [5, 6]},
            CONFIG["runs"][0] | {"recipe": "tiny", "architectures": ["small", "RN50"]},
            CONFIG["runs"][0] | {"architectures": ["RN52"]},
        ],
        "evaluate": {
            "image-text": {"flickr": {"title": "Flickr", "shards": "flickr/shards.json"}},
            "linear_probe": {"l2_min": 2.0, "l2_max": 1.0},
        },
        "testsets": {
            "birdsnap": {"description": "config/datasets/gtsrb.yaml"},
            "ucf101": {"description": str(folder / "spec.yaml")},
        },
    }
    return refused(snakemake, tmp_path_factory, yaml.safe_dump(content, sort_keys=False))


@pytest.mark.parametrize(
    "said",
    [
        "architectures.RN51: RN51-quickgelu: not a model of open_clip; did you mean RN50-quickgelu",
        "architectures.mine: no file config/mine.json; correct the path",
        "architectures.long: no file xxx",
        "no.json: not JSON (Expecting value",
        "lacks.json: text_cfg.context_length is missing; give a positive integer",
        "recipes.tiny.micro_batch_size: 1 image is too few for the BatchNorm layers of small; give 2 or more",
        "recipes.tiny.eval_epochs: 10 is beyond epochs: 9",
        "recipes.tiny.embedding_eval_epochs: 11 is beyond epochs: 9",
        "runs: cc3m-clip-RN50-cc3m-seed5 is given 2 times; leave it in one row",
        "runs: cc3m-cloob-RN50-cc3m-seed5 is given 2 times",
        "runs.3.architectures: no architecture RN52; there are ",
        "evaluate.retrieval_sets.flickr.shards: no file flickr/shards.json; correct the path",
        "evaluate.linear_probe.l2_min: greater than l2_max; exchange them",
        "testsets.birdsnap.description: config/datasets/gtsrb.yaml describes the test set gtsrb",
        "spec.yaml: line 2: key name is given twice, first in line 1; delete one",
    ],
)
def test_what_does_not_fit_together_is_told_by_its_key(inconsistent, said):
    assert len([line for line in inconsistent if said in line]) == 1, inconsistent


def test_a_value_twice_in_a_row_of_runs_is_refused(snakemake, tmp_path_factory):
    row = CONFIG["runs"][0]
    rows = [row | {key: row[key][:1] * 2} for key in ("objectives", "architectures", "seeds")]
    lines = refused(snakemake, tmp_path_factory, yaml.safe_dump({"runs": rows}))
    assert [line.partition(": ")[0] for line in lines] == [
        "runs.0.objectives",
        "runs.1.architectures",
        "runs.2.seeds",
    ]
    assert all("has non-unique elements" in line for line in lines)


def test_two_keys_may_name_one_path(snakemake, config_with):
    both = {"source": "official", "original": "data/official"}
    plan = snakemake(
        *("-n", "results/evaluate/testsets/ucf101"),
        *("--configfile", config_with({"testsets": {"ucf101": both, "gtsrb": both}})),
    )
    assert plan.returncode == 0, plan.stdout + plan.stderr
    assert (
        "data/official  (key testsets.gtsrb.original, testsets.ucf101.original)" in plan.stdout + plan.stderr
    )


@no_conda
def test_without_conda_the_plan_is_printed_and_says_what_to_do(snakemake):
    plan = snakemake("--profile", "slurm", "-n", "all")
    assert plan.returncode == 0, plan.stdout + plan.stderr
    said = plan.stdout + plan.stderr
    assert said.count("conda is not on the PATH") == 1 and "--sdm env-modules" in said
    assert "rule zeroshot:" in said


@no_conda
def test_without_conda_a_real_run_ends_with_what_to_do_before_its_first_job(snakemake, tmp_path):
    target = tmp_path / "figures" / "pipeline.png"
    arguments = [target, "--cores", 1, "--nolock", "--config", f"results={tmp_path}"]
    run = snakemake(*arguments, "--sdm", "conda")
    assert run.returncode != 0 and not target.exists()
    assert "conda is not on the PATH" in (run.stdout + run.stderr).split("WorkflowError")[-1]
    # What the message names works.
    run = snakemake(*arguments, "--sdm", "env-modules")
    assert run.returncode == 0 and target.exists()


@no_conda
@pytest.mark.parametrize(
    ("script", "said"),
    [("echo broken lib >&2; exit 127", "'broken lib'"), ("echo '{}'", "'{}'"), ("exit 1", "'nothing'")],
)
def test_where_conda_does_not_run_the_plan_is_printed_and_says_why(snakemake, tmp_path, script, said):
    conda = tmp_path / "conda"
    conda.write_text(f"#!/bin/sh\n{script}\n")
    conda.chmod(0o755)
    path = ("env", f"PATH={Path(sys.executable).parent}:{os.environ['PATH']}:{tmp_path}")
    plan = snakemake("--profile", "slurm", "-n", "results/tables/throughput.csv", before=path)
    assert plan.returncode == 0, plan.stdout + plan.stderr
    wanted = f"conda does not run: `conda info --json` says {said}"
    assert wanted in plan.stdout + plan.stderr and "--sdm env-modules" in plan.stdout + plan.stderr
