"""Result files of the evaluate stage, and the arguments of `cloob evaluate`."""

import pytest

from cloob.workflow import evaluation, released
from cloob.workflow.runs import embedding_eval_epochs
from cloob.workflow.user_inputs import missing_needed_inputs, user_inputs
from tests.helpers.configs import checked_config, config_from

RUN = "cc3m-clip-RN50-cc3m-seed1"


def test_every_run_epoch_and_dataset_has_a_result_file():
    config = config_from()
    files = evaluation.result_files(config, "zeroshot", ["gtsrb"])
    assert len(files) == 26  # 10 runs × 2 epochs on CC3M and 6 runs × 1 epoch on YFCC15M
    assert files[:2] == [f"results/evaluate/{RUN}/epoch_{epoch}/zeroshot/gtsrb.json" for epoch in (31, 128)]
    every_epoch = evaluation.result_files(config, "embedding_structure", ["a", "b"], embedding_eval_epochs)
    assert len(every_epoch) == 2 * (10 * 7 + 6 * 4)


def test_test_sets_are_passed_as_spec_and_folder():
    config = config_from()
    config["testsets"]["gtsrb"]["folder"] = "data/a=b"
    assert evaluation.testset_flags(config, ["gtsrb"]) == ["--testset=config/datasets/gtsrb.yaml=data/a=b"]


def test_the_linear_probe_is_fitted_on_the_configured_training_sets():
    config = config_from()
    flags = evaluation.linear_probe_flags(config)
    assert [flag for flag in flags if "train-set" in flag] == [
        f"--probe-train-set={name}={train_set}"
        for name, train_set in {
            **{name: name for name in ("country211", "flowers102", "gtsrb", "imagenet")},
            **dict.fromkeys(("imagenetv2", "imagenetv2_threshold", "imagenetv2_top_images"), "imagenet"),
        }.items()
    ]
    assert {"--features=after_projection", "--l2-min=1e-06", "--l2-num=49", "--seed=0"} <= set(flags)
    assert "--keep-train-features" not in flags


def test_features_of_training_images_are_kept_only_if_configured():
    config = config_from(evaluate={"linear_probe": {"keep_train_features": True}})
    assert evaluation.linear_probe_flags(config)[-1] == "--keep-train-features"


def test_retrieval_sets_are_splits_of_the_pipeline_or_other_shards():
    coco = {"title": "COCO", "shards": "data/coco/shards.json"}
    config = config_from(evaluate={"retrieval_sets": {"coco": coco}})
    manifests = evaluation.retrieval_set_paths(config)
    assert manifests == ["results/shards/cc3m/validation/shards.json", "data/coco/shards.json"]
    assert evaluation.retrieval_set_flags(config) == [
        "--pairs=cc3m_validation=results/shards/cc3m/validation/shards.json",
        "--pairs=coco=data/coco/shards.json",
        "--title=Conceptual Captions validation",
        "--title=COCO",
    ]


def test_retrieval_sets_may_be_karpathys_splits_or_webdataset_folders():
    url = "https://example.org/datasets/o/wds_coco/tree/main"
    sets = {
        "flickr": {"title": "Flickr30k", "karpathy": "data/f.json", "images": "data/f", "split": "val"},
        "local": {"title": "Mine", "webdataset": "data/wds"},
        "coco": {"title": "COCO", "webdataset": url, "max_bytes": 1000},
    }
    config = checked_config(evaluate={"retrieval_sets": sets})
    del config["evaluate"]["retrieval_sets"]["cc3m_validation"]
    paths = evaluation.retrieval_set_paths(config)
    assert paths == ["data/f.json", "data/wds", "results/evaluate/retrieval_sets/coco"]
    assert evaluation.retrieval_set_folders(config) == ["data/f"]
    flags = evaluation.retrieval_set_flags(config)
    assert flags[0] == "--pairs=flickr=data/f.json"
    assert flags[-2:] == ["--images=flickr=data/f", "--split=flickr=val"]
    assert evaluation.download_retrieval_set_flags(config, "coco") == [
        f"--url={url}",
        "--max-bytes=1000",
        "--split=test",
        "--partial=results/evaluate/retrieval_set_downloads/coco",
    ]
    assert {"evaluate.retrieval_sets.flickr.karpathy", "evaluate.retrieval_sets.local.webdataset"} <= set(
        user_inputs(config)
    )
    assert not any("coco" in key for key in user_inputs(config))


def test_webdataset_tars_with_training_images_are_read_only_for_a_probe():
    cars = {"source": "webdataset"}
    config = config_from(
        testsets={"stanford_cars": cars, "gtsrb": {"source": "webdataset", "prompts": "webdataset"}}
    )
    assert evaluation.prepare_testset_flags(config, "stanford_cars")[-2:] == [
        "--splits=test",
        "--prompts=spec",
    ]
    assert evaluation.prepare_testset_flags(config, "gtsrb")[-3:] == [
        "--splits=test",
        "--splits=train",
        "--prompts=webdataset",
    ]
    assert not any("splits" in flag for flag in evaluation.prepare_testset_flags(config, "flowers102"))


def test_test_sets_are_searched_in_every_training_corpus():
    files = evaluation.overlap_files(config_from())
    assert len(files) == 2 * 10
    assert files[0] == "results/evaluate/overlap/cc3m/birdsnap.json"


# The released models of the default config are left out.
OTHER_NULL = dict.fromkeys(config_from()["released_checkpoints"])


def test_weights_in_the_folder_of_a_model_are_inputs_so_that_new_ones_are_evaluated(tmp_path):
    for name in ("open_clip_config.json", "open_clip_model.safetensors", "README.md"):
        (tmp_path / name).touch()
    block = {"open_clip": f"local-dir:{tmp_path}", "pretraining": "A", "architecture": "B", "method": "C"}
    config = config_from(released_checkpoints={"mine": block})
    assert released.open_clip_inputs(config, "mine") == [
        f"{tmp_path}/open_clip_config.json",
        f"{tmp_path}/open_clip_model.safetensors",
    ]


def test_missing_local_models_are_requested_from_the_user_only_if_they_are_baselines():
    names = {"pretraining": "A", "method": "C"}
    blocks = {
        "folder": {"open_clip": "local-dir:data/m", "architecture": "a"} | names,
        "file": {"open_clip": "RN50", "pretrained": "data/w.pt", "architecture": "b"} | names,
        "tag": {"open_clip": "RN50", "pretrained": "yfcc15m", "architecture": "c"} | names,
    }
    config = checked_config(released_checkpoints=blocks, baselines=["file"])
    inputs = {key: path for key, path in user_inputs(config).items() if key.startswith("released")}
    assert inputs == {
        "released_checkpoints.folder.open_clip": "data/m/open_clip_config.json",
        "released_checkpoints.file.pretrained": "data/w.pt",
    }
    missing = [key for key in missing_needed_inputs(config) if key.startswith("released")]
    assert missing == ["released_checkpoints.file.pretrained"]


def test_released_checkpoints_are_compared_with_a_column_of_the_paper():
    config = config_from()
    files = released.released_files(config, "linear_probe")
    assert len(files) == len(config["released_checkpoints"]) * len(evaluation.probed_testsets(config))
    path = "results/evaluate/released/cloob_rn50x4_yfcc/linear_probe/gtsrb.json"
    assert files[path] == "YFCC15M/RN50x4/CLOOB/28"
    assert released.released_model(config, "cloob_rn50_yfcc").endswith("/released/cloob_rn50_yfcc.pt")
    assert released.released_checkpoint_flags(config, "cloob_rn50_yfcc") == [
        f"--url={config['released_checkpoints']['cloob_rn50_yfcc']['url']}",
        "--max-bytes=2000000000",
    ]


@pytest.mark.parametrize(
    ("block", "source", "inputs"),
    [
        ({"open_clip": "RN50", "pretrained": "yfcc15m"}, "RN50:yfcc15m", []),
        ({"open_clip": "RN50", "pretrained": "data/rn50.pt"}, "RN50:data/rn50.pt", ["data/rn50.pt"]),
        ({"open_clip": "local-dir:data//m/"}, "local-dir:data/m", ["data/m/open_clip_config.json"]),
        ({"open_clip": "RN50", "pretrained": "./rn50.pt"}, "RN50:./rn50.pt", ["./rn50.pt"]),
        ({"open_clip": "hf-hub:someone/model"}, "hf-hub:someone/model", []),
    ],
)
def test_models_of_open_clip_become_folders_that_are_evaluated_offline(block, source, inputs):
    block |= {"pretraining": "YFCC15M", "architecture": "RN50", "method": "CLIP (open_clip)"}
    config = checked_config(released_checkpoints=OTHER_NULL | {"other": block})
    assert released.open_clip_source(config, "other") == source
    assert released.open_clip_inputs(config, "other") == inputs
    model = "results/download/released/other/open_clip_model.safetensors"
    assert released.released_model(config, "other") == model
    assert "YFCC15M/RN50/CLIP (open_clip)/final" in released.released_files(config, "zeroshot").values()
