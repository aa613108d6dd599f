"""A run that receives SIGTERM or SIGUSR1 saves a checkpoint, exits with status 75 and can be resumed."""

import signal
import subprocess
import sys
import time
from functools import partial

import pytest
import torch

from tests.helpers.faults import signal_after_steps, signal_one_process_after_steps, slow_file_system
from tests.helpers.forked import ForkedCloob
from tests.helpers.training_runs import (
    assert_bit_identical,
    checkpoint_names,
    read_events,
    run_train,
    start_like_srun,
    start_torchrun,
    train_arguments,
    train_command,
    wait_for_first_step,
)

pytestmark = pytest.mark.timeout(300)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGUSR1])
def test_a_stopped_and_resumed_run_is_bit_identical(finished_run, shards, model, tmp_path, number):
    stopped = tmp_path / "stopped"
    stop = partial(signal_after_steps, 3, number)
    assert run_train(shards, model, stopped, workers=2, before=[stop]).returncode == 75
    assert not (stopped / "final.pt").exists()
    assert run_train(shards, model, stopped).returncode == 0
    # The signal arrives after the third step was submitted, and before the loop decides whether to stop.
    assert [start["samples_seen"] for start in read_events(stopped, "start")] == [0, 3 * 8]
    assert_bit_identical(finished_run, stopped)


def test_if_one_of_two_processes_is_signaled_both_stop_after_the_same_step(shards, model, tmp_path):
    # Five steps per epoch of one micro-batch per process, so the request is summed with the step after it.
    changes = {"processes": 2, "batch_size": 4, "micro_batch_size": 2, "epochs": 2}
    whole, stopped = tmp_path / "whole", tmp_path / "stopped"
    assert run_train(shards, model, whole, **changes).returncode == 0
    stop = partial(signal_one_process_after_steps, 6, signal.SIGTERM, rank=1)
    assert run_train(shards, model, stopped, before=[stop], **changes).returncode == 75
    # The seventh step carries the request, and the loop reads it after it has submitted the eighth.
    assert checkpoint_names(stopped) == ["epoch_0001.pt", "epoch_0001_step_00000003.pt"]
    assert run_train(shards, model, stopped, **changes).returncode == 0
    assert [start["samples_seen"] for start in read_events(stopped, "start")] == [0, 8 * 4]
    assert_bit_identical(whole, stopped)


def test_torchrun_forwards_the_signal_and_its_processes_save(shards, model, tmp_path):
    arguments = train_arguments(shards, model, tmp_path / "run", epochs=400)
    process = start_torchrun(arguments, tmp_path / "run", steps=3)
    process.send_signal(signal.SIGUSR1)
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
    arguments = train_arguments(shards, model, folder, epochs=400)
    tasks = start_like_srun(tmp_path, arguments, before=[slow_file_system])
    wait_for_first_step(tasks[0], folder)
    for task in tasks:
        task.send_signal(signal.SIGUSR1)
    assert tasks[1].wait(60) == 75
    assert list((folder / "checkpoints").glob("*.pt"))
    assert tasks[0].wait(60) == 75


def test_a_signal_during_the_local_copy_stops_the_copy(shards, model, tmp_path):
    options = [f"--node-local-dir={tmp_path / 'node'}"]
    arguments = train_arguments(shards, model, tmp_path / "run", options=options)
    process = ForkedCloob(arguments, before=[slow_file_system])
    while not list(tmp_path.glob("node/*/*.tar")):
        time.sleep(0.01)
        assert process.poll() is None
    process.send_signal(signal.SIGTERM)
    assert process.wait(60) == 75
    assert list((tmp_path / "node").iterdir()) == []
    assert not (tmp_path / "run" / "checkpoints" / "metrics.jsonl").exists()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGUSR1])
def test_a_signal_while_a_finished_run_exits_does_not_change_its_status(number):
    program = f"""
import os
from cloob.train.signals import graceful_stop, ignore_stop_signals

class Module:
    def __del__(self, kill=os.kill, pid=os.getpid()):
        kill(pid, {int(number)})

graceful_stop()
ignore_stop_signals()
deleted_while_the_interpreter_exits = Module()
"""
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0
