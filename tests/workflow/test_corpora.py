"""Corpora: needed splits, their sources, and the files of their download and shards."""

import pytest

from cloob.workflow import corpora
from cloob.workflow.corpora import Split
from cloob.workflow.user_inputs import (
    missing_inputs_message,
    missing_needed_inputs,
    missing_user_inputs,
    user_inputs,
)
from tests.helpers.configs import config_from

CC3M_TRAIN, CC3M_VALIDATION = Split("cc3m", "train"), Split("cc3m", "validation")
YFCC = Split("yfcc15m", "train")
EXISTING = {
    "title": "Mine",
    "train": {"shards": ["data/a", "data/b"]},
    "validation": {"shards": "data/c"},
}


def test_needed_splits_are_those_of_the_runs_and_the_retrieval_sets():
    config = config_from()
    assert corpora.needed_splits(config) == [CC3M_TRAIN, YFCC, CC3M_VALIDATION]
    rows = config["runs"]
    only_yfcc = config_from(corpora={"mine": EXISTING}, runs=[rows[1] | {"validation": "mine"}])
    assert corpora.needed_splits(only_yfcc) == [YFCC, CC3M_VALIDATION, Split("mine", "validation")]
    only_yfcc["evaluate"]["retrieval_sets"] = {"coco": {"title": "COCO", "shards": "data/coco/shards.json"}}
    assert corpora.needed_splits(only_yfcc) == [YFCC, Split("mine", "validation")]


def test_a_reader_gets_its_options_and_its_input_files():
    metadata = ["data/m1", "data/m2"]
    config = config_from(corpora={"yfcc15m": {"train": {"metadata": metadata}}})
    assert corpora.reader_inputs(config, YFCC) == {
        "metadata": metadata,
        "subset": ["data/yfcc15m/yfcc100m_subset_data.tsv.bz2"],
    }
    assert set(corpora.reader_flags(config, YFCC)) == {
        "--reader=yfcc100m",
        "--metadata=data/m1",
        "--metadata=data/m2",
        "--subset=data/yfcc15m/yfcc100m_subset_data.tsv.bz2",
        "--caption=title_description",
        f"--image-base-url={config['corpora']['yfcc15m']['train']['image_base_url']}",
    }


def test_the_jobs_of_a_corpus_share_its_request_rate():
    config = config_from()
    assert "--requests-per-second=2.2222222222222223" in corpora.fetch_flags(config, "cc3m")  # 20 / (8 + 1)
    existing = config_from(corpora={"cc3m": {"validation": {"shards": "data/mine"}}})
    assert "--requests-per-second=2.5" in corpora.fetch_flags(existing, "cc3m")
    assert "--requests-per-second=125.0" in corpora.fetch_flags(config, "yfcc15m")


def test_every_part_of_a_url_list_has_a_ledger():
    paths = corpora.ledgers(config_from(), CC3M_TRAIN)
    assert len(paths) == 8
    assert paths[7] == "results/download/cc3m/train/parts/0007_ledger.parquet"


def test_a_downloaded_training_split_is_packed_without_the_validation_images_of_its_runs():
    config = config_from()
    inputs = corpora.pack_inputs(config, YFCC)
    assert list(inputs) == ["ledgers", "urls", "validation"]
    assert inputs["validation"] == ["results/shards/cc3m/validation/shards.json"]
    assert "validation" not in corpora.pack_inputs(config, CC3M_VALIDATION)


def test_runs_with_several_validation_sets_exclude_all_of_them():
    rows = config_from()["runs"]
    config = config_from(
        corpora={"mine": EXISTING}, runs=[*rows, rows[1] | {"validation": "mine", "seeds": [2]}]
    )
    assert corpora.validation_manifests(config, "yfcc15m") == [
        "results/shards/cc3m/validation/shards.json",
        "results/shards/mine/validation/shards.json",
    ]
    # A corpus without runs excludes its own validation split.
    assert corpora.validation_manifests(config, "mine") == ["results/shards/mine/validation/shards.json"]


def test_existing_shards_are_packed_by_the_size_rules_of_the_download():
    config = config_from(corpora={"mine": EXISTING})
    split = Split("mine", "train")
    assert corpora.pack_inputs(config, split)["webdataset"] == ["data/a", "data/b"]
    size_rules = {"--image-size=512", "--min-size=16", "--max-aspect-ratio=3"}
    assert size_rules <= set(corpora.pack_flags(config, split))
    assert not size_rules & set(corpora.pack_flags(config, CC3M_TRAIN))


def test_images_on_disk_are_packed_with_their_table_and_its_columns():
    pictures = {"images": "data/pictures", "captions": "data/train.csv", "file_column": "file_name"}
    files = {"images": "data/other"}
    config = config_from(corpora={"mine": {"title": "Mine", "train": pictures, "validation": files}})
    train, validation = Split("mine", "train"), Split("mine", "validation")
    assert corpora.pack_inputs(config, train) == {
        "images": ["data/pictures"],
        "captions": ["data/train.csv"],
        "validation": ["results/shards/mine/validation/shards.json"],
    }
    assert {"--file-column=file_name", "--image-size=512"} <= set(corpora.pack_flags(config, train))
    assert corpora.pack_inputs(config, validation) == {"images": ["data/other"]}
    assert not [flag for flag in corpora.pack_flags(config, validation) if "column" in flag]
    for testset in config["testsets"].values():
        testset["folder"] = testset.get("folder") or "data/testset"
    inputs = {key: path for key, path in user_inputs(config).items() if "mine" in key}
    assert inputs == {
        "corpora.mine.train.images": "data/pictures",
        "corpora.mine.train.captions": "data/train.csv",
        "corpora.mine.validation.images": "data/other",
    }


def test_images_on_disk_take_precedence_over_an_inherited_reader():
    config = config_from(corpora={"cc3m": {"train": {"images": "data/pictures"}}})
    assert corpora.pack_inputs(config, CC3M_TRAIN)["images"] == ["data/pictures"]
    assert CC3M_TRAIN not in corpora.downloaded_splits(config)
    assert "cc3m/train/urls" not in corpora.outcome_files(config)


def test_row_accounting_starts_at_the_shards_if_nothing_is_downloaded():
    config = config_from(corpora={"cc3m": {"validation": {"shards": "data/c"}}})
    files = corpora.outcome_files(config)
    assert [name for name in files if name.startswith("cc3m/")] == [
        *("cc3m/train/urls", "cc3m/train/images", "cc3m/train/shards"),
        "cc3m/validation/shards",
    ]
    assert files["cc3m/train/images"] == "results/download/cc3m/train/images_outcomes.csv"
    assert files["cc3m/train/shards"] == "results/shards/cc3m/train/outcomes.csv"


def test_a_download_summary_reads_all_splits_of_a_corpus():
    config = config_from()
    inputs = corpora.summary_inputs(config, "cc3m")
    assert [len(inputs["url_outcomes"]), len(inputs["ledgers"])] == [2, 9]
    flags = corpora.summary_flags(config, "cc3m")
    assert "--list-outcomes=validation=results/download/cc3m/validation/urls_outcomes.csv" in flags
    assert sum(flag.startswith("--ledgers=train=") for flag in flags) == 8


@pytest.mark.usefixtures("tmp_path")
def test_user_inputs_are_lists_existing_shards_and_test_sets_outside_the_output_folder(tmp_path):
    present = tmp_path / "validation.tsv"
    present.touch()
    config = config_from(
        corpora={
            "cc3m": {"validation": {"list": str(present)}},
            "mine": EXISTING,
            "toy": {
                "title": "Toy",
                "train": {"reader": "url_list", "list": "results/toy/a.tsv", "num_jobs": 1},
            },
        }
    )
    for name, testset in config["testsets"].items():
        testset["folder"] = testset.get("folder") or f"results/evaluate/testsets/{name}"
    config["testsets"]["ucf101"]["local_files"] = "data/ucf101"
    inputs = user_inputs(config)
    assert {key: path for key, path in inputs.items() if "mine" in key} == {
        "corpora.mine.train.shards.0": "data/a",
        "corpora.mine.train.shards.1": "data/b",
        "corpora.mine.validation.shards": "data/c",
    }
    assert inputs["testsets.ucf101.local_files"] == "data/ucf101"
    assert inputs["testsets.imagenet.folder"] == "data/testsets/imagenet"
    assert not [key for key in inputs if "toy" in key or "gtsrb" in key]
    config["testsets"]["imagenet"]["folder"] = "x" * 300  # too long for a name
    missing = missing_user_inputs(config)
    assert "testsets.imagenet.folder" in missing
    assert "corpora.cc3m.validation.list" in inputs and "corpora.cc3m.validation.list" not in missing
    message = missing_inputs_message(config, ["data/b", "data/a"])
    assert message.splitlines()[2:] == [
        "  - data/a  (key corpora.mine.train.shards.0)",
        "  - data/b  (key corpora.mine.train.shards.1)",
    ]


def test_inputs_of_corpora_that_no_run_uses_are_not_requested():
    rows = config_from()["runs"]
    config = config_from(corpora={"mine": EXISTING}, runs=[rows[0] | {"corpus": "mine"}])
    config["testsets"] = {}
    assert set(missing_needed_inputs(config)) == {
        "corpora.mine.train.shards.0",
        "corpora.mine.train.shards.1",
        "corpora.mine.validation.shards",
        "corpora.cc3m.validation.list",  # of the retrieval set
    }
    assert missing_needed_inputs(config).keys() < missing_user_inputs(config).keys()
