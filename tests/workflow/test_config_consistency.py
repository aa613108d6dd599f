"""The check of the config beyond its schema, and the normalization of a valid config."""

import json
from pathlib import Path

import pytest

from cloob.workflow.checks import check_config
from tests.helpers.configs import SCHEMA, checked_config, config_from, config_problems
from tests.helpers.repository import ROOT

CONFIG = config_from()
ROW = CONFIG["runs"][0]
SMALL_MODEL = json.loads((ROOT / "config" / "architectures" / "RN_small.json").read_text())

pytestmark = pytest.mark.usefixtures("in_repository")


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
    ("recipe", "processes", "key"),
    [
        ({"micro_batch_size": 100}, 4, "recipes.cc3m.micro_batch_size: "),
        ({}, 3, "recipes.cc3m.micro_batch_size: 4 micro-batches"),
        ({"micro_batch_size": 1}, 4, ""),  # large feature maps: BatchNorm has several values per channel
        ({"objectives": {"cloob": {"hopfield_beta": 0}}}, 4, "recipes.cc3m.objectives.cloob.hopfield_beta: "),
        (
            {"objectives": {"clip": {"micro_batch_size": 100}}},
            4,
            "recipes.cc3m.objectives.clip.micro_batch_size: ",
        ),
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


def test_a_downloaded_corpus_needs_a_request_rate():
    split = {"reader": "url_list", "list": "a.tsv", "num_jobs": 1}
    lines = config_problems(corpora={"cc12m": {"title": "CC12M", "train": split}})
    assert lines == ["corpora.cc12m: no requests_per_second; set the rate of requests to one host"]
    assert config_problems(corpora={"mine": {"title": "Mine", "train": {"shards": "data/mine"}}}) == []


@pytest.mark.parametrize(
    ("options", "keys"),
    [
        ({"header": False}, ["url_column", "caption_column"]),
        ({"header": False, "url_column": 0, "caption_column": "text"}, ["caption_column"]),
        ({"header": False, "url_column": 0, "caption_column": 1}, []),
        ({"url_column": "link"}, []),
        ({"header": False, "list": "a.parquet"}, []),
        ({"header": False, "list": ["a.parquet", "b.csv.bz2"]}, ["url_column", "caption_column"]),
    ],
)
def test_columns_of_a_url_list_without_a_header_are_given_by_number(options, keys):
    split = {"reader": "url_list", "list": "a.tsv", "num_jobs": 1} | options
    lines = config_problems(corpora={"web": {"title": "Web", "requests_per_second": 20, "train": split}})
    assert [line.split(": ")[0] for line in lines] == [f"corpora.web.train.{key}" for key in keys]


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


def test_released_models_and_baselines_have_to_be_defined_and_distinct():
    names = {"pretraining": "YFCC15M", "architecture": "RN50", "method": "CLIP (open_clip)"}
    lines = config_problems(
        released_checkpoints={
            "again": {"open_clip": "RN50", "pretrained": "data/w.pt"} | names,
            "both": {"open_clip": "local-dir:m", "pretrained": "data/w.pt", "corpus": "laion"}
            | names
            | {"method": "other"},
        },
        baselines=["cloob_rn50_yfcc", "none", "both"],
    )
    assert [line.split(";")[0] for line in lines] == [
        "released_checkpoints.again: pretraining, architecture, method and epoch are those of "
        "open_clip_rn50_yfcc15m",
        "released_checkpoints.both.pretrained: local-dir:FOLDER already names the weights",
        "baselines: none is not defined",
        "released_checkpoints.both.corpus: laion is not defined",
    ]


@pytest.mark.parametrize("path", ["local-dir:", "local-dir:{model}", "local-dir:<model>", "local-dir:a\nb"])
def test_folders_of_models_have_paths_that_snakemake_can_handle(path):
    names = {"pretraining": "A", "architecture": "B", "method": "C"}
    [line] = config_problems(released_checkpoints={"mine": {"open_clip": path} | names})
    assert line.startswith("released_checkpoints.mine.open_clip: ")


def test_selected_test_sets_are_the_only_ones_left():
    config = checked_config(evaluate={"testsets": ["gtsrb", "imagenetv2"]})
    assert list(config["testsets"]) == ["gtsrb", "imagenetv2"]
    assert config["testsets"]["imagenetv2"]["probe_train_set"] is None


def test_a_config_without_test_sets_is_rejected():
    assert config_problems(testsets=dict.fromkeys(CONFIG["testsets"])) == [
        "testsets: all are null; keep at least one"
    ]


def test_a_selection_of_only_undefined_test_sets_is_one_problem():
    assert config_problems(evaluate={"testsets": ["gtsbr"]}) == [
        "evaluate.testsets: gtsbr is not defined; add it to testsets, or remove it here"
    ]


def test_a_ninth_test_set_of_the_default_config_is_left_out_of_the_demo(tmp_path):
    ninth = {"spec": str(tmp_path / "food101.yaml"), "folder": "data/food101"}
    demo = config_from("demo.yaml", testsets={"food101": ninth})
    assert check_config(demo, SCHEMA) == []
    assert "food101" not in demo["testsets"]


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


def test_a_test_set_is_read_from_local_files_if_its_folder_is_null():
    imagenet = {"folder": None, "source": "webdataset", "local_files": "data/wds", "prompts": "webdataset"}
    config = checked_config(testsets={"imagenet": imagenet})
    assert config["testsets"]["imagenet"]["folder"] == "results/evaluate/testsets/imagenet"
