"""Interrupted and resumed runs of `cloob train` equal uninterrupted ones."""

import os
import random
import shutil
import signal
import time
from functools import partial

import pytest

from cloob.common.json_files import read_json, write_json
from cloob.tune.trials import read_trial
from tests.helpers.faults import signal_after_steps
from tests.helpers.process_endings import is_alive
from tests.helpers.training_runs import (
    assert_bit_identical,
    assert_close,
    read_events,
    read_final,
    run_train,
    start_torchrun,
    start_train,
    train_arguments,
)

pytestmark = pytest.mark.timeout(300)


@pytest.mark.parametrize("checkpoint", ["epoch_0001.pt", "epoch_0002_step_00000001.pt"])
def test_a_run_resumed_from_a_checkpoint_is_bit_identical(finished_run, shards, model, tmp_path, checkpoint):
    folder = tmp_path / "resumed"
    (folder / "checkpoints").mkdir(parents=True)
    shutil.copy(finished_run / "checkpoints" / checkpoint, folder / "checkpoints")
    shutil.copy(finished_run / "checkpoints" / "metrics.jsonl", folder / "checkpoints")
    truncated = (finished_run / "checkpoints" / "epoch_0003.pt").read_bytes()[:1000]
    (folder / "checkpoints" / "epoch_0003.pt").write_bytes(truncated)
    done = run_train(shards, model, folder)
    assert done.returncode == 0, done.stderr
    assert "epoch_0003.pt is skipped" in done.stdout
    assert_bit_identical(finished_run, folder)


def test_a_finished_run_may_be_started_again_any_number_of_times(finished_run, shards, model, tmp_path):
    folder = tmp_path / "run"
    shutil.copytree(finished_run, folder)
    samples_seen = read_final(finished_run)["samples_seen"]
    starts = folder / "checkpoints" / "starts.json"
    starts.write_text(f"[0, {', '.join([f'{samples_seen}'] * 3)}]")
    before = starts.read_bytes()
    done = run_train(shards, model, folder)
    assert done.returncode == 0, done.stderr
    assert starts.read_bytes() == before
    assert [start["restarts"] for start in read_events(folder, "start")] == [0, 4]
    assert_bit_identical(finished_run, folder)


def test_a_finished_trial_is_validated_again_if_the_validation_pairs_change(
    finished_run, shards, model, tmp_path
):
    folder = tmp_path / "trial"
    shutil.copytree(finished_run, folder)
    manifest = shutil.copytree(shards.parent, tmp_path / "shards") / "shards.json"
    before = read_json(manifest)
    write_json(manifest, before | {"samples": 12, "sha256": "b" * 64, "shards": before["shards"][:1]})
    for _ in range(2):  # the second time, the pairs are the same as the first time
        done = run_train(shards, model, folder, options=["--trial", f"--validation={manifest}"])
        assert done.returncode == 0, done.stderr
    starts = [start["validation_sha256"] for start in read_events(folder, "start")]
    assert starts == [before["sha256"], "b" * 64, "b" * 64]
    validations = [(event["epoch"], event["samples"]) for event in read_events(folder, "validation")]
    assert validations == [(1, 22), (2, 22), (3, 22), (3, 12)]
    trial = read_trial(folder / "metrics.jsonl", ["learning_rate"])
    assert (trial.pairs, trial.validation_sha256) == (12, "b" * 64)


@pytest.mark.parametrize(
    ("processes", "all_reduce"),
    [
        (2, "float32"),
        (4, "bfloat16"),
        pytest.param(4, "float32", marks=pytest.mark.slow),
        pytest.param(2, "bfloat16", marks=pytest.mark.slow),
    ],
)
def test_a_resumed_run_of_several_processes_is_bit_identical(shards, model, tmp_path, processes, all_reduce):
    changes = {"processes": processes, "batch_size": 16, "micro_batch_size": 4, "epochs": 6}
    changes |= {"gradient_all_reduce": all_reduce}
    whole, resumed = tmp_path / "whole", tmp_path / "resumed"
    assert run_train(shards, model, whole, minutes=0, **changes).returncode == 0
    (resumed / "checkpoints").mkdir(parents=True)
    for name in ("epoch_0005.pt", "metrics.jsonl"):
        shutil.copy(whole / "checkpoints" / name, resumed / "checkpoints")
    assert run_train(shards, model, resumed, **changes).returncode == 0
    assert [start["samples_seen"] for start in read_events(resumed, "start")] == [0, 80]
    assert_bit_identical(whole, resumed)


@pytest.mark.parametrize("processes", [1, 4])
def test_a_killed_run_resumes_with_another_number_of_processes(
    float64_run, float64_recipe, shards, model, tmp_path, processes
):
    folder = tmp_path / "run"
    kill = partial(signal_after_steps, 8)
    killed = run_train(shards, model, folder, processes=2, minutes=0, before=[kill], **float64_recipe)
    assert killed.returncode == -signal.SIGKILL
    done = run_train(shards, model, folder, processes=processes, **float64_recipe)
    assert done.returncode == 0, done.stderr
    assert [start["processes"] for start in read_events(folder, "start")] == [2, processes]
    assert_close(float64_run, folder)


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_a_run_killed_ten_times_is_bit_identical(shards, model, tmp_path):
    changes = {"minutes": 0.001, "epochs": 300}
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    assert run_train(shards, model, whole, processes=2, **changes).returncode == 0
    generator = random.Random(0)
    for kill in range(10):
        arguments = train_arguments(shards, model, killed, **changes)
        process = start_torchrun(arguments, killed, steps=(kill + 1) * 40)
        time.sleep(generator.uniform(0, 1))
        os.killpg(process.pid, signal.SIGKILL)
        assert process.wait(60) == -signal.SIGKILL
    assert run_train(shards, model, killed, processes=2, **changes).returncode == 0
    assert len(read_events(killed, "start")) > 5
    assert_bit_identical(whole, killed)


def test_a_checkpoint_of_another_recipe_is_rejected_in_one_line(finished_run, shards, model, tmp_path):
    folder = tmp_path / "copy"
    shutil.copytree(finished_run, folder)
    done = run_train(shards, model, folder, learning_rate=5e-4)
    assert done.returncode == 2
    [line] = done.stderr.splitlines()
    assert line.startswith("cloob train: error: ")
    assert "recipe.learning_rate was 0.001, is 0.0005" in line


def test_a_folder_that_another_run_uses_is_rejected(shards, model, tmp_path):
    process = start_train(shards, model, tmp_path / "run", steps=1, epochs=400)
    second = run_train(shards, model, tmp_path / "run", epochs=400)
    assert process.poll() is None, "the first run ended too early"
    process.kill()
    process.wait(60)
    assert second.returncode == 2
    assert "in use by another process" in second.stderr


def test_processes_die_with_a_killed_torchrun(shards, model, tmp_path):
    arguments = train_arguments(shards, model, tmp_path / "run", epochs=400)
    process = start_torchrun(arguments, tmp_path / "run", steps=1)
    with open(f"/proc/{process.pid}/task/{process.pid}/children") as file:  # noqa: PTH123
        children = file.read().split()
    assert len(children) >= 2
    process.kill()
    process.wait(60)
    end = time.monotonic() + 20
    while any(is_alive(child) for child in children):
        assert time.monotonic() < end, "its processes survive it"
        time.sleep(0.05)
