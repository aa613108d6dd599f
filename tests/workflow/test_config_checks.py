"""The check of the config: one line per problem, with the key and the remedy."""

import json
import math
from pathlib import Path

import pytest
import yaml

from cloob.objectives.registry import OBJECTIVES
from cloob.workflow.checks import check_config
from tests.helpers.configs import SCHEMA, checked_config, config_from, config_problems
from tests.helpers.repository import ROOT

CONFIG = config_from()
ROW = CONFIG["runs"][0]
SMALL_MODEL = json.loads((ROOT / "config" / "architectures" / "RN_small.json").read_text())

pytestmark = pytest.mark.usefixtures("in_repository")


@pytest.fixture
def in_repository(monkeypatch):
    """Paths of the config are relative to the root of the repository."""
    monkeypatch.chdir(ROOT)


@pytest.mark.parametrize("names", [(), ("demo.yaml",), ("demo.yaml", "ablation.yaml")], ids=str)
def test_the_config_files_of_the_repository_are_valid(names):
    assert config_problems(*names) == []


def test_checking_a_checked_config_again_changes_nothing():
    """Snakemake passes the config on to the jobs, which check it again."""
    config = checked_config()
    again = json.loads(json.dumps(config))
    assert check_config(again, SCHEMA) == []
    assert again == config


YAML_PITFALLS = """
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


@pytest.fixture
def pitfall_lines(tmp_path):
    path = tmp_path / "changed.yaml"
    path.write_text(YAML_PITFALLS)
    return check_config(config_from(**yaml.safe_load(YAML_PITFALLS)), SCHEMA, [str(path)])


@pytest.mark.parametrize(
    "expected",
    [
        "title_suffix: 2024 is not of type 'string': put the text in quotes",
        "allow_missing: 'no' is not of type 'boolean': 'no' is text; write no, without quotes",
        "recipes.cc3m.epochs: '1e2' is not of type 'integer': YAML 1.1 reads 1e2 as text; write 100",
        "recipes.cc3m.eval_epochs: 31 is not of type 'array': write a list: [31]",
        "recipes.cc3m.learning_rate: '5e-4' is not of type 'number': YAML 1.1 reads 5e-4 as text; "
        "write 5.0e-4",
        "recipes.cc3m.weight_decay: '0.1' is not of type 'number': '0.1' is text; write 0.1, without quotes",
        "recipes.cc3m.micro_batch_size: 128.0 is not of type 'integer': write 128",
        "recipes.cc3m.compile: 'true' is not of type 'boolean': 'true' is text; write true, without quotes",
        "recipes.cc3m.crop_scale: '.9e0' is not of type 'number': YAML 1.1 reads .9e0 as text; write .9e+0",
        "recipes.1e5: None is not of type 'object': it is empty",
        "train.node_local_dir: False is not of type 'string': yes, no, on, off, true and false are",
        "train.wandb_project: None is not of type 'string': it is empty",
        "evaluate: None is not of type 'object': it is empty",
        "line 13: recipes.cc3m.adam_beta1: .nan is not a finite number",
        "line 15: key recipes.1 is not read as text; put it in quotes",
        "line 19: train.workers: YAML reads 010 as 8 (base 8)",
        "line 20: key train.workers is given twice, first in line 19; delete one",
        "line 22: download.timeout: YAML reads 1:30 as 90 (base 60)",
        "line 23: download.user_agent: YAML reads 2026-11-01 as a date; put it in quotes",
        "line 26: key architectures.on is not read as text; put it in quotes",
    ],
)
def test_values_that_yaml_misreads_are_reported_by_key(pitfall_lines, expected):
    assert len([line for line in pitfall_lines if expected in line]) == 1, pitfall_lines


def test_numbers_that_are_not_finite_are_rejected():
    lines = config_problems(recipes={"cc3m": {"adam_eps": math.nan, "weight_decay": math.inf}})
    assert [line.partition(" (")[0] for line in lines] == [
        "recipes.cc3m.adam_eps: nan is not of type 'number'",
        "recipes.cc3m.weight_decay: inf is not of type 'number'",
    ]


BAD_NAMES = ["a/b", "a b", "a{run}", "..", ".", ".a", "", "a\nb", "a\n", "é", "a-b", "$(x)", "<a>"]


@pytest.mark.parametrize(
    "key",
    ["architectures", "testsets", "released_checkpoints", "recipes", "corpora", "evaluate.retrieval_sets"],
)
def test_names_that_cannot_be_directories_or_wildcards_are_rejected(key):
    values = {
        "architectures": "RN50",
        "recipes": CONFIG["recipes"]["cc3m"],
        "corpora": CONFIG["corpora"]["cc3m"],
        "evaluate.retrieval_sets": CONFIG["evaluate"]["retrieval_sets"]["cc3m_validation"],
    }
    content = dict.fromkeys(BAD_NAMES, values.get(key))
    section, _, subsection = key.partition(".")
    lines = config_problems(**{section: {subsection: content} if subsection else content})
    for name in BAD_NAMES:
        prefix = f"{key}: {name!r} does not match (a name of "
        assert len([line for line in lines if line.startswith(prefix)]) == 1, lines


@pytest.fixture
def inconsistent_lines(tmp_path):
    (tmp_path / "no.json").write_text("[")
    (tmp_path / "incomplete.json").write_text(json.dumps(SMALL_MODEL | {"text_cfg": {}}))
    (tmp_path / "spec.yaml").write_text("name: gtsrb\nname: ucf101\n")
    tiny = {
        "micro_batch_size": 1,
        "batch_size": 4,
        "epochs": 9,
        "eval_epochs": [1, 10],
        "embedding_eval_epochs": [11],
    }
    return config_problems(
        architectures={
            "RN51": "RN51-quickgelu",
            "mine": "config/mine.json",
            "long": f"{'x' * 300}.json",
            "no": str(tmp_path / "no.json"),
            "incomplete": str(tmp_path / "incomplete.json"),
            "small": "config/architectures/RN_small.json",
        },
        recipes={"tiny": CONFIG["recipes"]["cc3m"] | tiny},
        runs=[
            ROW,
            ROW | {"seeds": [5, 6]},
            ROW | {"recipe": "tiny", "architectures": ["small", "RN50"]},
        ],
        evaluate={
            "testsets": ["birdsnap", "ucf101", "imagenet", "food101"],
            "retrieval_sets": {
                "flickr": {"title": "Flickr", "shards": "flickr/shards.json"},
                "yfcc": {"title": "YFCC15M", "shards": "yfcc15m/validation"},
            },
            "linear_probe": {"l2_min": 2.0, "l2_max": 1.0},
        },
        testsets={
            "birdsnap": {"spec": "config/datasets/gtsrb.yaml"},
            "ucf101": {"spec": str(tmp_path / "spec.yaml")},
        },
    )


@pytest.mark.parametrize(
    "expected",
    [
        "architectures.RN51: RN51-quickgelu: not a model of open_clip; did you mean RN50-quickgelu",
        "architectures.mine: no file config/mine.json; correct the path",
        "architectures.long: no file xxx",
        "no.json: not JSON (Expecting value",
        "incomplete.json: text_cfg.context_length is missing",
        "recipes.tiny.eval_epochs: 10 is beyond epochs: 9",
        "recipes.tiny.embedding_eval_epochs: 11 is beyond epochs: 9",
        "runs: cc3m-clip-RN50-cc3m-seed5 is listed 2 times; keep it in one row",
        "runs: cc3m-cloob-RN50-cc3m-seed5 is listed 2 times",
        "corpora.yfcc15m: no validation split; corpora with one: cc3m",
        "evaluate.testsets: food101 is not defined; add it to testsets",
        "evaluate.retrieval_sets.flickr.shards: no file flickr/shards.json; correct the path",
        "evaluate.linear_probe.l2_min: greater than l2_max; swap them",
        "testsets.birdsnap.spec: config/datasets/gtsrb.yaml specifies the test set gtsrb",
        "spec.yaml: line 2: key name is given twice, first in line 1; delete one",
    ],
)
def test_inconsistencies_are_reported_by_key(inconsistent_lines, expected):
    assert len([line for line in inconsistent_lines if expected in line]) == 1, inconsistent_lines


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"shards": {"near_duplicate_distance": 200}}, "shards.near_duplicate_distance: 200 is greater than"),
        ({"titel_suffix": "x"}, "unknown key titel_suffix; did you mean title_suffix?"),
        ({"download": {"timeout": "soon"}}, "download.timeout: 'soon' is not of type 'integer'"),
        ({"recipes": {"cc3m": {"momentum": 0.9}}}, "recipes.cc3m: unknown key momentum"),
        (
            {"runs": [ROW | {"objectives": ["clop"]}]},
            f"runs.0.objectives.0: 'clop' is not one of {list(OBJECTIVES)}",
        ),
        (
            {"recipes": {"cc3m": {"objectives": {"clop": {}}}}},
            "recipes.cc3m.objectives: unknown key clop; did you mean clip?",
        ),
        (
            {"runs": [ROW | {"recipe": "dd"}]},
            "runs.0.recipe: dd is not defined; recipes has cc3m, yfcc15m",
        ),
        (
            {"runs": [ROW | {"corpus": "cc12m"}]},
            "runs.0.corpus: cc12m is not defined; corpora has cc3m, yfcc15m",
        ),
        (
            {"runs": [ROW | {"architectures": ["RN51"]}]},
            "runs.0.architectures: RN51 is not defined; architectures has RN50, RN101, RN50x4",
        ),
        (
            {"runs": [CONFIG["runs"][1] | {"validation": None}]},
            "corpora.yfcc15m: no validation split; corpora with one: cc3m; choose one as `validation`",
        ),
        (
            {"testsets": {"gtsrb": {"probe_train_set": "birdsnap"}}},
            "testsets.gtsrb.probe_train_set: birdsnap has no training images of its own; test sets with "
            "training images: country211",
        ),
        (
            {"testsets": {"birdsnap": {"spec": "config/datasets/bird.yaml"}}},
            "testsets.birdsnap.spec: no file config/datasets/bird.yaml; correct the path",
        ),
        (
            {"evaluate": {"testsets": "some"}},
            "evaluate.testsets: 'all' was expected",
        ),
        (
            {"evaluate": {"retrieval_sets": {"flickr": {"title": "Flickr", "shards": "flickr/test"}}}},
            "evaluate.retrieval_sets.flickr.shards: 'flickr/test' does not match",
        ),
        ({"toy_data": {"seed": 1}}, "toy_data: 'port' is a required property"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_an_invalid_value_is_reported_by_key(changes, expected):
    lines = config_problems(**changes)
    assert len([line for line in lines if line.startswith(expected) or expected in line]) == 1, lines


@pytest.mark.parametrize(
    ("recipe", "processes", "key"),
    [
        ({"micro_batch_size": 100}, 4, "recipes.cc3m.micro_batch_size: "),
        ({}, 3, "recipes.cc3m.micro_batch_size: 4 micro-batches"),
        ({"micro_batch_size": 1}, 4, ""),  # large feature maps: BatchNorm has several values per channel
        ({"objectives": {"cloob": {"hopfield_beta": 0}}}, 4, "recipes.cc3m.objectives.cloob.hopfield_beta: "),
        ({"eval_epochs": [200]}, 4, "recipes.cc3m.eval_epochs: 200 is beyond epochs: 128"),
    ],
)
def test_a_recipe_is_checked_with_the_objectives_models_and_processes_of_its_runs(recipe, processes, key):
    lines = config_problems(recipes={"cc3m": recipe}, train={"processes": processes}, runs=[ROW])
    assert [line.startswith(key) for line in lines] == ([True] if key else []), lines


def test_a_micro_batch_too_small_for_batchnorm_is_reported_once():
    lines = config_problems(
        recipes={"cc3m": {"micro_batch_size": 1, "batch_size": 4}},
        architectures={"small": "config/architectures/RN_small.json"},
        runs=[ROW | {"architectures": ["small", "RN50"]}],
    )
    assert len(lines) == 1 and lines[0].startswith("recipes.cc3m.micro_batch_size: "), lines


def test_objectives_need_the_hyperparameters_that_are_registered_for_them():
    objectives = config_from()["recipes"]["cc3m"]["objectives"]
    without = {name: {"inv_temperature": 30.0, "learnable_temperature": False} for name in objectives}
    recipe = CONFIG["recipes"]["cc3m"] | {"objectives": without}
    lines = config_problems(recipes={"other": recipe})
    assert [line.split(": ")[0] for line in lines] == [
        f"recipes.other.objectives.{name}" for name in sorted(objectives) if OBJECTIVES[name].hopfield
    ]


def test_a_value_twice_in_a_row_of_runs_is_rejected():
    lines = config_problems(
        runs=[ROW | {key: ROW[key][:1] * 2} for key in ("objectives", "architectures", "seeds")]
    )
    assert [line.partition(": ")[0] for line in lines] == [
        "runs.0.objectives",
        "runs.1.architectures",
        "runs.2.seeds",
    ]
    assert all("has non-unique elements" in line for line in lines)


@pytest.mark.parametrize(
    ("split", "expected"),
    [
        ({"num_jobs": 1}, "is not valid under any of the given schemas"),
        ({"reader": "laion", "num_jobs": 1}, "corpora.cc12m.train.reader: 'laion' is not one of ["),
        ({"reader": "url_list", "list": "a.tsv"}, "corpora.cc12m.train: 'num_jobs' is a required property"),
        ({"reader": "url_list", "num_jobs": 1}, "corpora.cc12m.train: 'list' is a required property"),
        (
            {"reader": "url_list", "num_jobs": 1, "list": "a.tsv", "hedaer": False},
            "corpora.cc12m.train: unknown key hedaer; did you mean header?",
        ),
        (
            {"reader": "url_list", "num_jobs": 1, "list": "a.tsv", "header": "no"},
            "corpora.cc12m.train.header: 'no' is not of type 'boolean'",
        ),
        (
            {"reader": "url_list", "num_jobs": 1, "list": "a{b}.tsv"},
            "corpora.cc12m.train.list: 'a{b}.tsv' does",
        ),
        (
            {"reader": "url_list", "num_jobs": 1, "list": ["a<b>"]},
            "corpora.cc12m.train.list.0: 'a<b>' does not",
        ),
        ({"shards": []}, "corpora.cc12m.train.shards: [] "),
        ({"shards": ["a\nb"]}, "corpora.cc12m.train.shards.0: 'a\\nb' does not match"),
    ],
)
def test_a_split_is_checked_by_the_options_of_its_reader(split, expected):
    lines = config_problems(corpora={"cc12m": {"title": "CC12M", "requests_per_second": 20, "train": split}})
    assert len(lines) == 1 and expected in lines[0], lines


def test_a_downloaded_corpus_needs_a_request_rate():
    split = {"reader": "url_list", "list": "a.tsv", "num_jobs": 1}
    lines = config_problems(corpora={"cc12m": {"title": "CC12M", "train": split}})
    assert lines == ["corpora.cc12m: no requests_per_second; set the rate of requests to one host"]
    assert config_problems(corpora={"mine": {"title": "Mine", "train": {"shards": "data/mine"}}}) == []


def test_null_removes_inherited_splits_options_test_sets_and_checkpoints():
    config = checked_config(
        corpora={
            "cc3m": {"validation": {"shards": "data/frozen", "reader": None, "list": None}},
            "yfcc15m": None,
        },
        runs=[ROW],
        testsets={"imagenet": None},
        released_checkpoints=dict.fromkeys(CONFIG["released_checkpoints"]),
    )
    assert config["corpora"]["cc3m"]["validation"] == {"shards": "data/frozen", "num_jobs": 1}
    assert list(config["corpora"]) == ["cc3m"]
    assert "imagenet" not in config["testsets"] and config["released_checkpoints"] == {}
    # ImageNetV2 is probed with ImageNet's training images.
    assert config["testsets"]["imagenetv2"]["probe_train_set"] is None


def test_selected_test_sets_are_the_only_ones_left():
    config = checked_config(evaluate={"testsets": ["gtsrb", "imagenetv2"]})
    assert list(config["testsets"]) == ["gtsrb", "imagenetv2"]
    assert config["testsets"]["imagenetv2"]["probe_train_set"] is None


def test_a_ninth_test_set_of_the_default_config_is_left_out_of_the_demo(tmp_path):
    ninth = {"spec": str(tmp_path / "food101.yaml"), "folder": "data/food101"}
    demo = config_from("demo.yaml", testsets={"food101": ninth})
    assert check_config(demo, SCHEMA) == []
    assert "food101" not in demo["testsets"]


@pytest.mark.parametrize("results", ["a{run}", "{", "a<tables>b", "a\nb", "a\n", "-a", "./-a", "a/", ".", ""])
def test_an_output_directory_that_snakemake_cannot_use_is_rejected(results):
    lines = config_problems(results=results)
    assert len(lines) == 1 and lines[0].startswith("results: "), lines


def test_paths_are_normalized():
    config = checked_config(
        results="./x//y/./z",
        corpora={
            "cc3m": {"validation": {"list": "data//mine.tsv"}},
            "yfcc15m": {"train": {"metadata": ["./data/m1", "data/./m2"]}},
        },
        testsets={"imagenet": {"folder": "./data/mine/"}},
        evaluate={
            "retrieval_sets": {
                "mine": {"title": "Mine", "shards": "x/./y/z/shards/yfcc15m/train/shards.json"}
            }
        },
    )
    assert config["results"] == "x/y/z"
    assert config["corpora"]["cc3m"]["validation"]["list"] == "data/mine.tsv"
    assert config["corpora"]["yfcc15m"]["train"]["metadata"] == ["data/m1", "data/m2"]
    assert config["testsets"]["imagenet"]["folder"] == "data/mine"
    assert Path(config["evaluate"]["retrieval_sets"]["mine"]["shards"]).is_relative_to(config["results"])
