"""Runs that cannot continue fail with one line naming the cause: divergence, changed shards, full disk."""

import re
import shutil
from functools import partial

import pytest

from tests.helpers.faults import limit_file_size
from tests.helpers.training_runs import checkpoint_names, read_events, run_train

pytestmark = pytest.mark.timeout(300)


def test_non_finite_weights_are_never_saved(shards, model, tmp_path):
    done = run_train(shards, model, tmp_path / "run", learning_rate=1e30, warmup_steps=0, minutes=0)
    assert done.returncode == 2
    [line] = done.stderr.splitlines()
    assert "a weight is not finite at step 1, learning rate 1e+30; the last good checkpoint is none" in line
    assert not list((tmp_path / "run").glob("**/*.pt"))


def test_the_last_checkpoint_before_a_non_finite_loss_is_not_reported_as_good(shards, model, tmp_path):
    done = run_train(
        shards, model, tmp_path / "run", learning_rate=1e13, warmup_steps=1, schedule="cosine", minutes=0
    )
    assert done.returncode == 2
    saved = checkpoint_names(tmp_path / "run")
    match = re.search(
        r"loss is not finite at step (\d), .* the last good checkpoint is (\S+) in", done.stderr
    )
    assert match, done.stderr
    assert saved, "there is no checkpoint before the loss diverged"
    assert match[2] != saved[-1]


def test_a_diverged_trial_ends_well_and_writes_only_its_log(shards, model, tmp_path):
    options = {"learning_rate": 1e30, "warmup_steps": 0, "minutes": 0, "options": ["--trial"]}
    done = run_train(shards, model, tmp_path / "run", **options)
    assert done.returncode == 0, done.stderr
    [diverged] = read_events(tmp_path / "run", "diverged")
    assert re.search(r"the loss is not finite at step 2, learning rate \d", diverged["message"])
    assert {path.name for path in (tmp_path / "run").iterdir()} == {"checkpoints", "metrics.jsonl"}
    assert not (tmp_path / "run" / "checkpoints" / "starts.json").exists()


def test_swapped_indexes_are_detected_before_the_first_step(shards, model, tmp_path):
    folder = tmp_path / "shards"
    shutil.copytree(shards.parent, folder)
    first, second = folder / "000000.parquet", folder / "000001.parquet"
    first.rename(folder / "temporary")
    second.rename(first)
    (folder / "temporary").rename(second)
    done = run_train(folder / "shards.json", model, tmp_path / "run")
    assert done.returncode == 2
    assert re.search(
        r"000000\.parquet: changed after packing .* run `cloob shards verify`", done.stderr.splitlines()[-1]
    )
    assert not list(tmp_path.glob("run/**/*.pt"))


@pytest.mark.parametrize("processes", [1, 2])
def test_a_shard_changed_after_packing_ends_the_run_and_is_named(shards, model, tmp_path, processes):
    shutil.copytree(shards.parent, tmp_path / "shards")
    tar = tmp_path / "shards" / "000001.tar"
    tar.write_bytes(bytes(tar.stat().st_size))  # the same size, without any image
    done = run_train(
        tmp_path / "shards" / "shards.json",
        model,
        tmp_path / "run",
        workers=1,
        options=[f"--processes={processes}"],
    )
    assert done.returncode == 2
    line = done.stderr.splitlines()[-1]
    assert line.startswith(f"cloob train: error: {tar}: changed after packing: ")
    assert "run `cloob shards verify`" in line
    assert not list(tmp_path.glob("run/**/*.pt"))


def test_a_fraction_of_replaced_pairs_may_be_allowed(shards, model, tmp_path):
    shutil.copytree(shards.parent, tmp_path / "shards")
    tar = tmp_path / "shards" / "000001.tar"
    content = bytearray(tar.read_bytes())
    content[512:2048] = bytes(1536)  # the first image
    tar.write_bytes(content)
    manifest = tmp_path / "shards" / "shards.json"
    stopped = run_train(manifest, model, tmp_path / "run")
    assert stopped.returncode == 2
    assert stopped.stderr.splitlines()[-1].startswith(
        f"cloob train: error: {tar}: changed after packing: 1 of its pairs do not decode; "
    )
    done = run_train(manifest, model, tmp_path / "run", options=["--max-replaced-fraction=0.5"])
    assert done.returncode == 0, done.stderr
    assert 1 <= sum(step["replaced"] for step in read_events(tmp_path / "run", "step")) <= 3


@pytest.mark.parametrize(("processes", "checkpoint"), [(1, "epoch_0000_step_00000001"), (2, "epoch_0001")])
def test_a_full_disk_at_a_checkpoint_is_reported_in_the_last_line(
    shards, model, tmp_path, processes, checkpoint
):
    options = [f"--processes={processes}"]
    limit = partial(limit_file_size, 200_000)
    done = run_train(shards, model, tmp_path / "run", minutes=0, options=options, before=[limit])
    assert done.returncode == 2, done.stderr
    path = tmp_path / "run" / "checkpoints" / f"{checkpoint}.pt"
    assert done.stderr.splitlines()[-1].startswith(
        f"cloob train: error: {path}: File too large; raise the file size limit"
    )
    assert "Traceback" not in done.stderr
    assert not list(tmp_path.glob("run/**/*.pt"))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ('{"embed_dim": 16}', "vision_cfg is missing"),
        ("[1]", "not a model configuration"),
        ("{", "not JSON"),
        (None, "No such file"),
    ],
)
def test_an_invalid_model_file_is_reported_in_one_line(shards, tmp_path, content, message):
    path = tmp_path / "model.json"
    if content is not None:
        path.write_text(content)
    done = run_train(shards, path, tmp_path / "run")
    assert done.returncode == 2
    line = done.stderr.splitlines()[-1]
    assert line.startswith(f"cloob train: error: {path}: ")
    assert message in line


def test_an_invalid_recipe_is_reported_once_for_all_processes(shards, model, tmp_path):
    done = run_train(shards, model, tmp_path / "run", options=["--processes=3"])
    assert done.returncode == 2
    [line] = done.stderr.splitlines()
    assert "recipe.micro_batch_size: 2 micro-batches of 4 pairs cannot be divided equally among 3" in line


def test_an_unknown_objective_lists_the_known_ones(shards, model, tmp_path):
    done = run_train(shards, model, tmp_path / "run", objective="siglip")
    assert done.returncode == 2
    assert re.search("argument --objective: .*siglip.*choose from .*clip.*cloob", done.stderr)


@pytest.mark.parametrize("seed", [-1, 2**63])
def test_a_seed_that_torch_or_the_tables_cannot_use_is_rejected(shards, model, tmp_path, seed):
    done = run_train(shards, model, tmp_path / "run", options=[f"--seed={seed}"])
    assert done.returncode == 2
    [line] = done.stderr.splitlines()
    assert line == f"cloob train: error: --seed: {seed} is not between 0 and 2**63 - 1; give another"
