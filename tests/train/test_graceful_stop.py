"""A run that receives SIGTERM or SIGUSR1 saves a checkpoint, exits with status 75 and can be resumed."""

import os
import signal
import subprocess
import sys
import time

import pytest
import torch

from tests.helpers.training_runs import (
    assert_bit_identical,
    cloob_arguments,
    read_events,
    run_train,
    start_like_srun,
    start_train,
    train_command,
    wait_for_first_step,
)

pytestmark = pytest.mark.timeout(300)
every_stop_signal = pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGUSR1])

# `cloob` with a copy of the shards and a checkpoint that take two seconds, as on a slow file system.
SLOW_FILE_SYSTEM = """
import sys, time
from cloob.cli import main
from cloob.train import local_copy, state

def slow(function):
    def wrapper(*arguments):
        time.sleep(2)
        return function(*arguments)
    return wrapper

local_copy.sha256_file, state.write_checkpoint = slow(local_copy.sha256_file), slow(state.write_checkpoint)
main()
"""


def on_slow_file_system(command):
    return [sys.executable, "-c", SLOW_FILE_SYSTEM, *cloob_arguments(command)]


@pytest.fixture(scope="module")
def uninterrupted_run(shards, model, tmp_path_factory):
    """The folder of an uninterrupted run of sixty epochs."""
    folder = tmp_path_factory.mktemp("runs") / "uninterrupted"
    assert run_train(shards, model, folder, epochs=60).returncode == 0
    return folder


@every_stop_signal
def test_a_stopped_and_resumed_run_is_bit_identical(uninterrupted_run, shards, model, tmp_path, number):
    stopped = tmp_path / "stopped"
    process = start_train(shards, model, stopped, steps=3, epochs=60, workers=2)
    os.killpg(process.pid, number)  # as schedulers do: the loader workers receive it too
    assert process.wait(60) == 75
    assert not (stopped / "final.pt").exists()
    assert run_train(shards, model, stopped, epochs=60).returncode == 0
    assert len(read_events(stopped, "start")) == 2
    assert_bit_identical(uninterrupted_run, stopped)


@every_stop_signal
def test_torchrun_forwards_the_signal_and_its_processes_save(shards, model, tmp_path, number):
    process = start_train(shards, model, tmp_path / "run", steps=3, epochs=400, processes=2)
    process.send_signal(number)
    assert process.wait(60) == 1
    last = read_events(tmp_path / "run" / "checkpoints", "step")[-1]
    newest = max((tmp_path / "run" / "checkpoints").glob("*.pt"))
    assert torch.load(newest, weights_only=True)["samples_seen"] == last["samples_seen"] < 400 * 16


def test_a_signal_during_startup_stops_the_run_after_one_step(shards, model, tmp_path):
    process = subprocess.Popen(train_command(shards, model, tmp_path / "run", epochs=400))
    time.sleep(1)  # it is importing torch
    process.send_signal(signal.SIGTERM)
    assert process.wait(60) == 75
    assert len(read_events(tmp_path / "run" / "checkpoints", "step")) == 1


def test_no_process_exits_before_the_checkpoint_is_written(shards, model, tmp_path):
    folder = tmp_path / "run"
    command = on_slow_file_system(train_command(shards, model, folder, epochs=400))
    tasks = start_like_srun(tmp_path, command)
    wait_for_first_step(tasks[0], folder)
    for task in tasks:
        task.send_signal(signal.SIGUSR1)
    assert tasks[1].wait(60) == 75
    assert list((folder / "checkpoints").glob("*.pt"))
    assert tasks[0].wait(60) == 75


def test_a_signal_during_the_local_copy_stops_the_copy(shards, model, tmp_path):
    options = [f"--node-local-dir={tmp_path / 'node'}"]
    command = train_command(shards, model, tmp_path / "run", options=options)
    process = subprocess.Popen(on_slow_file_system(command))
    while not list(tmp_path.glob("node/*/*.tar")):
        time.sleep(0.01)
        assert process.poll() is None
    process.send_signal(signal.SIGTERM)
    assert process.wait(60) == 75
    assert list((tmp_path / "node").iterdir()) == []
    assert not (tmp_path / "run" / "checkpoints" / "metrics.jsonl").exists()
