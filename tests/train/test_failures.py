"""After any failure, no process is left running, and the last line names the cause."""

import gc
import multiprocessing
import os
import re
import signal
import time
from functools import partial

import pytest

from cloob.common.errors import InputError
from cloob.train import loop
from cloob.train.distributed import init_distributed
from cloob.train.launch import _impatient_with_ctrl_c
from cloob.train.metrics_log import MetricsLog
from cloob.train.recipe import Recipe, Run
from cloob.train.setup import RunPaths, TrainOptions
from cloob.train.signals import StopRequest
from tests.helpers import faulty_training
from tests.helpers.faults import (
    ctrl_c_in_fork,
    limit_file_size,
    limit_shared_memory,
    poison_weights_after_steps,
    skip_shared_memory_check,
)
from tests.helpers.faulty_training import TARGETS
from tests.helpers.forked import ForkedCloob
from tests.helpers.process_endings import (
    END_SECONDS,
    communicate,
    input_error,
    is_alive,
    last_line,
    process_tree,
    start,
)
from tests.helpers.recipes import BASE
from tests.helpers.training_runs import (
    checkpoint_names,
    launched_arguments,
    read_events,
    run_train,
    start_train,
    torchrun_command,
    train_arguments,
    train_command,
    wait_for_first_step,
)

pytestmark = pytest.mark.timeout(300)
RUN = Run(corpus="cc3m", objective="clip", architecture="tiny", recipe="test", seed=3)


def torchrun_with_fault(fault, arguments):
    """The command of a run in two processes of torchrun with an injected fault."""
    return [*torchrun_command(processes=2), faulty_training.__file__, *fault, "--", *arguments]


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("exception", ["ValueError", "KeyboardInterrupt"])
def test_no_loader_worker_survives_an_exception(
    shards, model, tmp_path, monkeypatch, target, workers, exception
):
    if (target, exception) == ("worker", "KeyboardInterrupt"):
        pytest.skip("an interrupted worker exits as a killed one does")
    monkeypatch.setattr(*TARGETS[target], getattr(*TARGETS[target]))  # restores it at the end
    faulty_training.install(target, exception)
    before = multiprocessing.active_children()
    paths, options = (
        RunPaths(shards, shards, tmp_path),
        TrainOptions(workers=workers, checkpoint_interval_minutes=0),
    )
    with (
        pytest.raises((ValueError, KeyboardInterrupt), match=f"a fault in {target}") as raised,
        init_distributed() as context,
    ):
        loop.train(RUN, Recipe(**BASE), model, paths, context, StopRequest(), options)
    assert raised.traceback  # its frames still refer to the loader
    assert [child for child in multiprocessing.active_children() if child not in before] == []
    del raised
    gc.collect()  # closes the log of the run


@pytest.mark.parametrize(
    ("target", "exception", "status", "message"),
    [
        ("step", "ValueError", 1, "ValueError: a fault in step"),
        ("worker", "MemoryError", 2, "cloob train: error: Cannot allocate memory; give the job more"),
        ("saving", "KeyboardInterrupt", 130, "cloob train: interrupted"),
    ],
)
def test_a_failed_run_of_one_process_ends(shards, model, tmp_path, target, exception, status, message):
    arguments = train_arguments(shards, model, tmp_path / "run", workers=2, minutes=0)
    process = ForkedCloob(arguments, before=[partial(faulty_training.install, target, exception)])
    _, errors = communicate(process)
    assert process.returncode == status
    assert last_line(errors).removeprefix("[rank0]: ").startswith(message)


@pytest.mark.parametrize("rank", ["0", "1"])
def test_if_one_of_two_processes_fails_both_end(shards, model, tmp_path, rank):
    arguments = train_arguments(shards, model, tmp_path / "run", workers=2)
    process = start(torchrun_with_fault(["step", "ValueError", rank], arguments))
    _, errors = communicate(process)
    assert process.returncode == 1
    assert "a fault in step" in errors


@pytest.mark.slow
@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("rank", ["", "0", "1"])
def test_if_one_of_two_processes_fails_anywhere_both_end(shards, model, tmp_path, target, workers, rank):
    if (target, rank) == ("saving", "1"):
        pytest.skip("only the main process saves")
    arguments = train_arguments(shards, model, tmp_path / "run", workers=workers, minutes=0)
    process = start(torchrun_with_fault([target, "ValueError", *([rank] if rank else [])], arguments))
    _, errors = communicate(process)
    assert process.returncode == 1
    assert f"a fault in {target}" in errors


def test_a_killed_loader_worker_ends_the_run_in_one_line(shards, model, tmp_path):
    process = start_train(shards, model, tmp_path / "run", steps=1, epochs=4000, workers=2)
    os.kill(process_tree(process.pid)[-1], signal.SIGKILL)
    _, errors = communicate(process)
    assert process.returncode == 2
    pattern = r"error: .*oader worker.* (is killed|exited unexpectedly).*use fewer workers"
    assert re.search(pattern, last_line(errors))


def test_loader_workers_die_with_a_killed_run(shards, model, tmp_path):
    process = start_train(shards, model, tmp_path / "run", steps=2, epochs=4000, workers=2)
    worker = process_tree(process.pid)[1]
    process.kill()
    process.wait()
    end = time.monotonic() + 20
    while is_alive(worker):
        assert time.monotonic() < end, "a worker survives a killed run"
        time.sleep(0.05)


def test_ctrl_c_ends_a_run_in_one_line(shards, model, tmp_path):
    process = start_train(shards, model, tmp_path / "run", steps=2, epochs=4000, workers=2)
    before = process_tree(process.pid)
    os.killpg(process.pid, signal.SIGINT)  # a terminal signals the workers too
    assert_interrupted(process, before)


def test_ctrl_c_while_a_worker_is_forked_ends_a_run_in_one_line(shards, model, tmp_path):
    """Python ignores exceptions there: the run would go on."""
    arguments = train_arguments(shards, model, tmp_path / "run", epochs=4000, workers=2)
    process = ForkedCloob(arguments, before=[ctrl_c_in_fork])
    assert_interrupted(process, process_tree(process.pid))


def assert_interrupted(process, processes):
    assert process.wait(END_SECONDS) == 130
    assert process.stderr == "cloob train: interrupted\n"
    end = time.monotonic() + 5  # the kernel kills the workers after their parent
    while any(map(is_alive, processes)):
        assert time.monotonic() < end, "a process survives an interrupted run"
        time.sleep(0.05)


def test_if_cloob_starts_torchrun_the_cause_is_the_last_line(shards, model, tmp_path):
    changes = {"learning_rate": 1e30, "warmup_steps": 0, "minutes": 0}
    process = ForkedCloob(launched_arguments(shards, model, tmp_path / "run", **changes))
    _, errors = communicate(process)
    assert process.returncode == 2
    assert last_line(errors).startswith(
        "cloob train: error: cc3m-cloob-tiny-test-seed3: the loss is not finite at step 2"
    )
    assert "torch/distributed" not in errors
    assert "Traceback" not in errors


@pytest.mark.parametrize("processes", [1, 2])
def test_a_loss_that_is_not_finite_is_noticed_one_step_late_and_before_anything_is_saved(
    shards, model, tmp_path, processes
):
    changes = {"processes": processes, "batch_size": 4, "micro_batch_size": 2}
    poison = partial(poison_weights_after_steps, 7)
    done = run_train(shards, model, tmp_path / "run", before=[poison], **changes)
    assert done.returncode == 2
    message = done.stderr.splitlines()[-1]
    assert "the loss is not finite at step 8, " in message
    assert "the last good checkpoint is epoch_0001.pt in " in message
    assert checkpoint_names(tmp_path / "run") == ["epoch_0001.pt"]
    assert [step["step"] for step in read_events(tmp_path / "run" / "checkpoints", "step")][-1] == 7
    assert "submitted step 9\n" in done.stdout and "submitted step 10\n" not in done.stdout


def test_if_torchrun_is_started_manually_the_cause_is_repeated_below_its_report(shards, model, tmp_path):
    arguments = train_arguments(shards, model, tmp_path / "run")
    process = start(torchrun_with_fault(["step", "ValueError"], arguments))
    _, errors = communicate(process)
    assert process.returncode == 1
    assert "Root Cause" in errors
    assert last_line(errors) == "cloob train: error: ValueError: a fault in step"


def test_a_killed_process_of_torchrun_is_named_in_the_last_line(shards, model, tmp_path):
    process = ForkedCloob(launched_arguments(shards, model, tmp_path / "run", epochs=4000))
    wait_for_first_step(process, tmp_path / "run")
    os.kill(process_tree(process.pid)[1], signal.SIGKILL)
    _, errors = communicate(process)
    assert process.returncode == 2
    assert re.search("process . of 2 was killed by SIGKILL", last_line(errors))


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGUSR1])
def test_if_cloob_starts_torchrun_a_signal_stops_it_gracefully(shards, model, tmp_path, monkeypatch, number):
    monkeypatch.setenv(
        "TORCH_ELASTIC_SHUTDOWN_TIMEOUT", "0"
    )  # a checkpoint may take longer than torchrun waits
    process = ForkedCloob(launched_arguments(shards, model, tmp_path / "run", epochs=4000, workers=1))
    wait_for_first_step(process, tmp_path / "run")
    process.send_signal(number)
    communicate(process)
    assert process.returncode == 75
    assert list((tmp_path / "run" / "checkpoints").glob("epoch_*.pt"))


def test_after_ctrl_c_torchrun_waits_no_longer_than_after_a_failure():
    calls = []
    shutdown = _impatient_with_ctrl_c(lambda _, number, timeout=30: calls.append((number, timeout)))
    shutdown(None)
    for number in (signal.SIGINT, signal.SIGTERM):
        shutdown(None, number, timeout=600)
    assert calls == [(signal.SIGTERM, 30), (signal.SIGINT, 30), (signal.SIGTERM, 600)]


def test_a_graceful_stop_that_cannot_save_is_an_error(shards, model, tmp_path):
    arguments = launched_arguments(shards, model, tmp_path / "run", epochs=4000)
    process = ForkedCloob(arguments, before=[partial(limit_file_size, 400_000)])
    wait_for_first_step(process, tmp_path / "run")
    process.send_signal(signal.SIGTERM)
    _, errors = communicate(process)
    assert process.returncode == 2
    assert re.search(r"cloob train: error: .*epoch_.*\.pt: File too large", last_line(errors))


@pytest.mark.parametrize(
    "make_command",
    [partial(train_command, options=["--processes=2"]), partial(train_command, processes=2)],
    ids=["started by cloob", "started manually"],
)
def test_processes_die_with_a_torchrun_killed_during_their_imports(shards, model, tmp_path, make_command):
    process = start(make_command(shards, model, tmp_path / "run"))
    while len(process_tree(process.pid)) < 3:
        assert process.poll() is None
        time.sleep(0.02)
    time.sleep(0.3)
    children = process_tree(process.pid)[1:]
    process.kill()
    process.wait()
    end = time.monotonic() + 60
    while survivors := [pid for pid in children if is_alive(pid)]:
        assert time.monotonic() < end, f"surviving processes: {survivors}"
        time.sleep(0.05)
    assert "process 0 of" not in process.communicate()[0], "killed too late: the imports were done"


def test_training_works_without_git(shards, model, tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    paths, recipe = RunPaths(shards, shards, tmp_path), Recipe(**BASE | {"epochs": 1})
    with init_distributed() as context:
        assert loop.train(RUN, recipe, model, paths, context, StopRequest(), TrainOptions())
    assert '"commit": null' in (tmp_path / "metrics.jsonl").read_text()


def test_a_log_that_cannot_be_completed_leaves_no_final_checkpoint(shards, model, tmp_path, monkeypatch):
    complete = MetricsLog.close

    def close(log):
        complete(log)
        raise InputError("TensorBoard's thread could not write")

    monkeypatch.setattr(MetricsLog, "close", close)
    paths, recipe = RunPaths(shards, shards, tmp_path), Recipe(**BASE | {"epochs": 1})
    with init_distributed() as context, pytest.raises(InputError, match="could not write"):
        loop.train(RUN, recipe, model, paths, context, StopRequest(), TrainOptions())
    assert not (tmp_path / "final.pt").exists() and not (tmp_path / "open_clip").exists()


needs_mount = pytest.mark.skipif(os.geteuid() != 0, reason="mounting needs root")


@needs_mount
def test_too_little_shared_memory_is_detected_at_the_start(shards, model, tmp_path):
    arguments = train_arguments(shards, model, tmp_path / "run", workers=2)
    process = ForkedCloob(arguments, before=[partial(limit_shared_memory, "64k")])
    assert "/dev/shm: 2 loader workers need" in input_error(process)


@needs_mount
@pytest.mark.parametrize("size", ["24k", "60k", "80k"])  # too small for a semaphore, a batch, its second part
def test_shared_memory_that_fills_up_during_the_run_ends_it(shards, model, tmp_path, size):
    arguments = train_arguments(shards, model, tmp_path / "run", workers=2)
    process = ForkedCloob(arguments, before=[partial(limit_shared_memory, size), skip_shared_memory_check])
    _, errors = communicate(process)
    assert process.returncode == 2
    assert re.search("error: .*worker.*[Uu]se fewer workers", last_line(errors))
