"""Targets that name something that the config does not define: one message, with the most similar name."""

import pytest

from cloob.common.errors import InputError
from cloob.workflow import corpora, evaluation, released, runs, search
from cloob.workflow.corpora import Split
from tests.helpers.configs import config_from

CONFIG = config_from(corpora={"mine": {"title": "Mine", "train": {"images": "data/mine"}}})
RUN = "cc3m-clip-RN50-cc3m-seed1"
MISTYPED = "cc3m-clp-RN50-cc3m-seed1"
TRIAL = "learning_rate_0.0005+warmup_steps_10000+hopfield_beta_8"


@pytest.mark.parametrize(
    ("find", "arguments", "message"),
    [
        (runs.training_inputs, [MISTYPED], f"no run {MISTYPED} in the config; did you"),
        (evaluation.final_checkpoint, [MISTYPED, 31], f"; did you mean {RUN}?"),
        (runs.training_inputs, ["x"], "no run x in the config; it has cc3m-clip-RN50-cc3m-seed1, cc3m-clip-"),
        (
            evaluation.final_checkpoint,
            [RUN, 5],
            f"no checkpoint of {RUN} after epoch 5; its recipe keeps those after 1, 8, 16, 31, 64, 96, 128 (",
        ),
        (
            search.trial_logs,
            ["cc3m", "infoloob"],
            "no objective infoloob in search.cc3m.grid; did you mean cloob?",
        ),
        (
            search.trial_inputs,
            ["cc3m", "cloob", TRIAL.replace("_8", "_9")],
            f"_9 in search.cc3m.grid.cloob; did you mean {TRIAL}?",
        ),
        (
            corpora.pack_inputs,
            [Split("yfcc15m", "validation")],
            "no split yfcc15m/validation in the config; did you mean ",
        ),
        (corpora.ledgers, [Split("mine", "train")], "corpora.mine.train: packed from files on disk, not"),
    ],
)
def test_an_undefined_name_is_reported_with_the_defined_ones(find, arguments, message):
    with pytest.raises(InputError) as error:
        find(CONFIG, *arguments)
    assert message in str(error.value)


def test_an_existing_checkpoint_of_another_epoch_can_be_evaluated(tmp_path):
    config = config_from(results=str(tmp_path))
    path = tmp_path / "train" / RUN / "checkpoints" / "epoch_0005.pt"
    path.parent.mkdir(parents=True)
    path.touch()
    assert evaluation.checkpoint(config, RUN, 5) == str(path)
    assert evaluation.final_checkpoint(config, RUN, 5) == f"{tmp_path}/train/{RUN}/final.pt"


def test_released_models_are_distinguished_by_their_source():
    assert released.with_key(CONFIG, "url") == ["cloob_rn50_yfcc", "cloob_rn50x4_yfcc"]
    assert "openai_rn50" in released.with_key(CONFIG, "open_clip")


@pytest.mark.usefixtures("in_repository")
def test_a_mistyped_run_is_named_by_the_plan(snakemake):
    plan = snakemake("-n", f"results/evaluate/{MISTYPED}/epoch_31/zeroshot/gtsrb.json")
    text = plan.stdout + plan.stderr
    assert plan.returncode != 0
    assert f"in the config; did you mean {RUN}?" in text and "KeyError" not in text
