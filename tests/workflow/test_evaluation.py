"""Result files of the evaluate stage, and the arguments of `cloob evaluate`."""

import pytest

from cloob.workflow import evaluation
from cloob.workflow.runs import embedding_eval_epochs
from tests.helpers.configs import config_from

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
    inputs = evaluation.testset_inputs(config, ["gtsrb"])
    assert evaluation.testset_flags(**inputs) == ["--testset=config/datasets/gtsrb.yaml=data/a=b"]
    with pytest.raises(ValueError, match="shorter"):
        evaluation.testset_flags(["a", "b"], ["c"])


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
    manifests = evaluation.retrieval_set_manifests(config)
    assert manifests == ["results/shards/cc3m/validation/shards.json", "data/coco/shards.json"]
    assert evaluation.retrieval_set_flags(config, manifests) == [
        "--pairs=cc3m_validation=results/shards/cc3m/validation/shards.json",
        "--pairs=coco=data/coco/shards.json",
        "--title=Conceptual Captions validation",
        "--title=COCO",
    ]


def test_test_sets_are_searched_in_every_training_corpus():
    files = evaluation.overlap_files(config_from())
    assert len(files) == 2 * 10
    assert files[0] == "results/evaluate/overlap/cc3m/birdsnap.json"


def test_released_checkpoints_are_compared_with_a_column_of_the_paper():
    config = config_from()
    files = evaluation.released_files(config, "linear_probe")
    assert len(files) == len(config["released_checkpoints"]) * len(evaluation.probed_testsets(config))
    path = "results/evaluate/released/cloob_rn50x4_yfcc/linear_probe/gtsrb.json"
    assert files[path] == "YFCC15M/RN50x4/CLOOB/28"
    assert evaluation.released_model(config, "cloob_rn50_yfcc").endswith("/released/cloob_rn50_yfcc.pt")
    assert evaluation.released_checkpoint_flags(config, "cloob_rn50_yfcc") == [
        f"--url={config['released_checkpoints']['cloob_rn50_yfcc']['url']}",
        "--max-bytes=2000000000",
    ]


@pytest.mark.parametrize(
    ("block", "source", "inputs"),
    [
        ({"open_clip": "RN50", "pretrained": "yfcc15m"}, "RN50:yfcc15m", []),
        ({"open_clip": "RN50", "pretrained": "data/rn50.pt"}, "RN50:data/rn50.pt", ["data/rn50.pt"]),
        ({"open_clip": "local-dir:data/m"}, "local-dir:data/m", ["data/m/open_clip_config.json"]),
        ({"open_clip": "hf-hub:someone/model"}, "hf-hub:someone/model", []),
    ],
)
def test_models_of_open_clip_become_folders_that_are_evaluated_offline(block, source, inputs):
    block |= {"pretraining": "YFCC15M", "architecture": "RN50", "method": "CLIP (open_clip)"}
    config = config_from(released_checkpoints={"other": block})
    assert evaluation.open_clip_source(config, "other") == source
    assert evaluation.open_clip_inputs(config, "other") == inputs
    model = "results/download/released/other/open_clip_model.safetensors"
    assert evaluation.released_model(config, "other") == model
    assert "YFCC15M/RN50/CLIP (open_clip)/final" in evaluation.released_files(config, "zeroshot").values()
