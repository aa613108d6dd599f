"""The loop submits a step before it reads the numbers of the one before; checkpoints are after their log."""

import itertools
import json
import os
from pathlib import Path
from types import SimpleNamespace

import pytest

from cloob.train import loop, submitted_step
from cloob.train.distributed import init_distributed
from cloob.train.recipe import Recipe, Run
from cloob.train.setup import RunPaths, TrainOptions
from cloob.train.signals import StopRequest
from cloob.train.state import Checkpointer
from cloob.train.submitted_step import NumbersOnTheirWay
from tests.helpers.recipes import BASE

RUN = Run(corpus="cc3m", objective="cloob", architecture="tiny", recipe="test", seed=3)


def test_the_device_has_the_next_step_before_the_host_waits_for_its_numbers(
    shards, model, tmp_path, monkeypatch
):
    submit_step, read = loop._submit_step, NumbersOnTheirWay.read
    events, steps = [], {}

    def recorded_submission(*arguments):
        submitted = submit_step(*arguments)
        steps[id(submitted.numbers)] = submitted.number + 1
        events.append(f"submit {submitted.number + 1}")
        return submitted

    def recorded_read(numbers):
        event = f"read {steps[id(numbers)]}"
        if event not in events:  # later reads do not wait
            events.append(event)
        return read(numbers)

    monkeypatch.setattr(loop, "_submit_step", recorded_submission)
    monkeypatch.setattr(NumbersOnTheirWay, "read", recorded_read)
    recipe = Recipe(**BASE | {"epochs": 1, "batch_size": 4, "micro_batch_size": 2})
    with init_distributed() as context:
        paths = RunPaths(shards, shards, tmp_path)
        assert loop.train(RUN, recipe, model, paths, context, StopRequest(), TrainOptions())
    within_epoch = "submit 1, submit 2, read 1, submit 3, read 2, submit 4, read 3, submit 5, read 4"
    assert ", ".join(events) == within_epoch + ", read 5"  # before validation


def test_waiting_for_data_is_the_time_in_which_the_device_has_nothing_to_compute(
    shards, model, tmp_path, monkeypatch
):
    numbers, completed = itertools.count(), [-1]

    class IdleForAMicrosecond:
        """Timing events of a device that is idle for 1 µs between a step and the next one."""

        def __init__(self, device):
            self.number = next(numbers)

        def synchronize(self):
            completed[0] = self.number

        def elapsed_time(self, end):
            assert end.number == self.number + 1, "not from the end of a step to the start of the next one"
            assert end.number <= completed[0], "CUDA would raise an error: the event is not complete"
            return 1e-3

    for module in (loop, submitted_step):
        monkeypatch.setattr(module, "timing_event", IdleForAMicrosecond)
    recipe = Recipe(**BASE | {"epochs": 2, "batch_size": 4, "micro_batch_size": 2})
    with init_distributed() as context:
        paths = RunPaths(shards, shards, tmp_path)
        assert loop.train(RUN, recipe, model, paths, context, StopRequest(), TrainOptions())
    events = map(json.loads, (tmp_path / "metrics.jsonl").read_text().splitlines())
    waits = [event["data_seconds"] for event in events if event["event"] == "step"]
    assert waits[1:5] + waits[6:] == pytest.approx([1e-6] * 8)
    assert min(waits[0], waits[5]) > 1e-5  # nothing else to compute: all of the time


def test_the_disk_has_the_log_of_all_steps_before_it_has_their_checkpoint(
    shards, model, tmp_path, monkeypatch
):
    log, fsync, save = tmp_path / "checkpoints" / "metrics.jsonl", os.fsync, Checkpointer.save
    synced, saved = [0], []

    def recorded_fsync(descriptor):
        fsync(descriptor)
        if Path(f"/proc/self/fd/{descriptor}").readlink() == log:
            synced.append(log.stat().st_size)

    def recorded_save(*arguments):
        saved.append((synced[-1], log.stat().st_size))
        save(*arguments)

    monkeypatch.setattr(os, "fsync", recorded_fsync)
    monkeypatch.setattr(Checkpointer, "save", recorded_save)
    recipe = Recipe(**BASE | {"epochs": 2, "batch_size": 16, "micro_batch_size": 8})
    with init_distributed() as context:
        paths = RunPaths(shards, shards, tmp_path)
        assert loop.train(RUN, recipe, model, paths, context, StopRequest(), TrainOptions())
    assert len(saved) == 2
    assert all(on_disk == written > 0 for on_disk, written in saved)


def test_results_that_a_killed_run_left_half_written_are_deleted(tmp_path):
    (tmp_path / "open_clip").mkdir()
    (tmp_path / "log.jsonl").write_text("{}\n")
    for name in (".final.node1.4711.pt", "open_clip/.open_clip_model.node1.4711.safetensors"):
        (tmp_path / name).write_bytes(b"half")
    paths = SimpleNamespace(folder=tmp_path, running_log=tmp_path / "log.jsonl")
    options = SimpleNamespace(trial=True)
    loop._write_results(SimpleNamespace(samples_seen=8, paths=paths, options=options))
    files = {path.name for path in tmp_path.rglob("*") if path.is_file()}
    assert files == {"log.jsonl", "metrics.jsonl"}
