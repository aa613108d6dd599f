"""The check of the config by its schema: one line per problem, with the key and the remedy."""

import json
import math

import pytest
import yaml

from cloob.objectives.registry import OBJECTIVES
from cloob.workflow.checks import check_config
from tests.helpers.configs import SCHEMA, checked_config, config_from, config_problems

CONFIG = config_from()
ROW = CONFIG["runs"][0]
NAMES = {"pretraining": "WIT", "architecture": "RN51", "method": "CLIP"}

pytestmark = pytest.mark.usefixtures("in_repository")


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
def test_names_that_cannot_be_folders_or_wildcards_are_rejected(key):
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


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"shards": {"near_duplicate_distance": 200}}, "shards.near_duplicate_distance: 200 is greater than"),
        (
            {"runs": [ROW | {"seeds": [2**63 - 1, 2**63]}]},
            "runs.0.seeds.1: 9223372036854775808 is greater than the maximum of 9223372036854775807 (",
        ),
        ({"search": {"cc3m": {"seed": 2**63}}}, "search.cc3m.seed: 9223372036854775808 is greater than the"),
        ({"download": {"timeout": 10**310}}, f"download.timeout: {10**310} is not of type 'integer' ("),
        ({"train": {"max_replaced_fraction": -(10**310)}}, f"train.max_replaced_fraction: -{10**310} is not"),
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
            {"corpora": {"yfcc15m": {"train": None, "validation": {"shards": "data/v"}}}},
            "corpora.yfcc15m: no train split; corpora with one: cc3m; choose one as `corpus` of the runs and",
        ),
        (
            {"evaluate": {"retrieval_sets": {"x": {"title": "X", "shards": "yfcc15m/validation"}}}},
            "corpora.yfcc15m: no validation split; corpora with one: cc3m; choose one in "
            "evaluate.retrieval_sets, or add the split",
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
            {"evaluate": {"testsets": "gtsrb"}},
            "evaluate.testsets: 'gtsrb' is not 'all': write a list: [gtsrb] (all, or the names of",
        ),
        (
            {"evaluate": {"retrieval_sets": {"cc3m_validation": None}}},
            "evaluate.retrieval_sets: all are null; keep at least one",
        ),
        (
            {"evaluate": {"retrieval_sets": {"flickr": {"title": "Flickr", "shards": "flickr/test"}}}},
            "evaluate.retrieval_sets.flickr.shards: 'flickr/test' does not match",
        ),
        *(
            (
                {"evaluate": {"retrieval_sets": {"x": {"title": "X", **given}}}},
                f"evaluate.retrieval_sets.x: {line}",
            )
            for given, line in (
                ({}, "needs shards or karpathy or webdataset"),
                ({"karpathy": "a.json"}, "no images; set the folder of the images that karpathy lists"),
                ({"webdataset": "https://a.example/x"}, "no max_bytes; set the largest size to download"),
                (
                    {"shards": "cc3m/validation", "webdataset": "x"},
                    "shards and webdataset are given; keep one",
                ),
            )
        ),
        *(
            (
                {"evaluate": {"retrieval_sets": {"x": {"title": "X", **given}}}},
                f"evaluate.retrieval_sets.x.{line}",
            )
            for given, line in (
                ({"shards": "cc3m/validation", "split": "val"}, "split: not read with shards; remove it"),
                ({"shards": "cc3m/validation", "images": "x"}, "images: not read with shards; remove it"),
                ({"webdataset": "x", "images": "x"}, "images: not read with webdataset; remove it"),
                ({"webdataset": "x", "max_bytes": 9}, "max_bytes: nothing is downloaded; remove it"),
            )
        ),
        (
            {"testsets": {"gtsrb": {"prompts": "webdataset"}}},
            "testsets.gtsrb.prompts: webdataset needs source: webdataset; set both, or neither",
        ),
        (
            {"testsets": {"imagenet": {"source": "webdataset", "local_files": "x"}}},
            "testsets.imagenet.folder: is used as it is, so local_files is not read; set folder: null",
        ),
        (
            {"testsets": {"gtsrb": {"source": "webdataset", "folder": "x", "prompts": "webdataset"}}},
            "testsets.gtsrb.folder: is used as it is, so prompts is not read; set folder: null",
        ),
        (
            {"testsets": {"ucf101": {"source": "webdataset"}}},
            "testsets.ucf101.source: config/datasets/ucf101.yaml has no URL of a webdataset folder; set",
        ),
        ({"recipes": {"new": {"epochs": 1}}}, "recipes.new: missing eval_epochs, embedding_eval_epochs, "),
        ({"toy_data": {"seed": 1}}, "toy_data: missing port, cc3m_train, "),
        (
            {"released_checkpoints": {"new": {"url": "https://a.example/x"} | NAMES}},
            "released_checkpoints.new: url needs checksum, max_bytes, epoch (",
        ),
        (
            {"released_checkpoints": {"new": {"open_clip": "RN51"} | NAMES}},
            "released_checkpoints.new.open_clip: RN51: not a model of open_clip; did you mean RN50",
        ),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_an_invalid_value_is_reported_by_key(changes, expected):
    lines = config_problems(**changes)
    assert len([line for line in lines if line.startswith(expected) or expected in line]) == 1, lines


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
        ({"num_jobs": 1}, "corpora.cc12m.train: needs reader or shards or images"),
        ({"reader": "laion", "num_jobs": 1}, "corpora.cc12m.train.reader: 'laion' is not one of ["),
        ({"reader": "url_list", "list": "a.tsv"}, "corpora.cc12m.train: missing num_jobs ("),
        ({"reader": "url_list", "num_jobs": 1}, "corpora.cc12m.train: missing list ("),
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
        ({"images": ["a", "b"]}, "corpora.cc12m.train.images: ['a', 'b'] is not of type 'string'"),
        ({"images": "a", "captions": "a{b}"}, "corpora.cc12m.train.captions: 'a{b}' does not match"),
        (
            {"images": "a", "captoins": "b"},
            "corpora.cc12m.train: unknown key captoins; did you mean captions?",
        ),
        ({"images": "a", "file_column": 1.5}, "corpora.cc12m.train.file_column: 1.5 is not of type"),
        (
            {"images": "a", "shards": "b"},
            "corpora.cc12m.train: has shards and images; set all but one to null",
        ),
    ],
)
def test_a_split_is_checked_by_the_options_of_its_reader(split, expected):
    lines = config_problems(corpora={"cc12m": {"title": "CC12M", "requests_per_second": 20, "train": split}})
    assert len(lines) == 1 and expected in lines[0], lines


@pytest.mark.parametrize("results", ["a{run}", "{", "a<tables>b", "a\nb", "a\n", "-a", "./-a", "a/", ".", ""])
def test_an_output_folder_that_snakemake_cannot_use_is_rejected(results):
    lines = config_problems(results=results)
    assert len(lines) == 1 and lines[0].startswith("results: "), lines
