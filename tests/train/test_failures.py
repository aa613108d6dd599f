"""Whatever fails, nothing is left running, and the last line says what failed."""

import gc
import multiprocessing
import os
import re
import resource
import shutil
import signal
import subprocess
import sys
import time
from functools import partial

import pytest

from cloob.train import loop
from cloob.train.distributed import joined
from cloob.train.recipe import Recipe, Run
from cloob.train.signals import StopRequest
from tests.helpers import faulty_training as faulty
from tests.helpers.faulty_training import TARGETS
from tests.helpers.process_endings import PATIENCE, ended, forked, is_alive, last_line, start, tree
from tests.helpers.recipes import BASE
from tests.train.test_loop import command, started

pytestmark = pytest.mark.timeout(300)


def with_fault(fault, arguments, processes=1):
    """The command with a fault, in one process or by torchrun."""
    launcher = ["-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={processes}"]
    arguments = arguments[arguments.index("cloob") + 1 :]
    return [sys.executable, *(launcher if processes > 1 else []), faulty.__file__, *fault, "--", *arguments]


def launched(*arguments, processes=2, **changes):
    """The documented command: torchrun is called by `cloob`."""
    return [*command(*arguments, **changes), f"--processes={processes}"]


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("where", TARGETS)
@pytest.mark.parametrize("what", ["ValueError", "KeyboardInterrupt"])
def test_after_an_exception_no_worker_is_left(shards, model, tmp_path, monkeypatch, where, workers, what):
    if (where, what) == ("worker", "KeyboardInterrupt"):
        pytest.skip("a worker that is interrupted ends, as one that is killed")
    monkeypatch.setattr(*TARGETS[where], getattr(*TARGETS[where]))  # put back at the end
    faulty.install(where, what)
    before = multiprocessing.active_children()
    run = Run(corpus="cc3m", objective="clip", architecture="tiny", recipe="test", seed=3)
    with (
        pytest.raises((ValueError, KeyboardInterrupt), match=f"a fault in {where}") as kept,
        joined() as world,
    ):
        places = loop.Places(shards, shards, tmp_path)
        loop.train(run, Recipe(**BASE), model, places, set(), 0, workers, world, StopRequest())
    assert kept.traceback  # its frames hold the loader
    assert [child for child in multiprocessing.active_children() if child not in before] == []
    del kept
    gc.collect()  # the log of the run is open


@pytest.mark.parametrize(
    ("where", "what", "status", "said"),
    [
        ("step", "ValueError", 1, "ValueError: a fault in step"),
        ("worker", "MemoryError", 2, "cloob train: error: Cannot allocate memory; give the job more"),
        ("saving", "KeyboardInterrupt", 130, "cloob train: interrupted"),
    ],
)
def test_alone_a_failed_run_ends(shards, model, tmp_path, where, what, status, said):
    arguments = command(shards, model, tmp_path / "run", workers=2, minutes=0)
    process = start(with_fault([where, what], arguments))
    _, errors = ended(process)
    assert process.returncode == status
    assert last_line(errors).removeprefix("[rank0]: ").startswith(said)


@pytest.mark.parametrize("rank", ["0", "1"])
def test_of_two_processes_one_fails_and_both_end(shards, model, tmp_path, rank):
    arguments = command(shards, model, tmp_path / "run", workers=2)
    process = start(with_fault(["step", "ValueError", rank], arguments, processes=2))
    _, errors = ended(process)
    assert process.returncode == 1
    assert "a fault in step" in errors


@pytest.mark.slow
@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("where", TARGETS)
@pytest.mark.parametrize("rank", ["", "0", "1"])
def test_wherever_one_of_two_processes_fails_both_end(shards, model, tmp_path, where, workers, rank):
    if (where, rank) == ("saving", "1"):
        pytest.skip("the first process saves")
    arguments = command(shards, model, tmp_path / "run", workers=workers, minutes=0)
    process = start(with_fault([where, "ValueError", *([rank] if rank else [])], arguments, processes=2))
    _, errors = ended(process)
    assert process.returncode == 1
    assert f"a fault in {where}" in errors


def test_a_worker_that_is_killed_ends_the_run_in_one_line(shards, model, tmp_path):
    process = started(shards, model, tmp_path / "run", steps=2, epochs=4000, workers=2)
    worker = tree(process.pid)[1]
    process.kill()
    process.wait()
    errors = tmp_path / "errors"
    process = forked(command(shards, model, tmp_path / "other", epochs=4000, workers=2), errors)
    log = tmp_path / "other" / "checkpoints" / "metrics.jsonl"
    while not (log.exists() and '"step"' in log.read_text()):
        assert process.exitcode is None
        time.sleep(0.05)
    os.kill(tree(process.pid)[-1], signal.SIGKILL)
    process.join(PATIENCE)
    assert process.exitcode == 2
    died = r"error: .*oader worker.* (is killed|exited unexpectedly).*Use fewer workers"
    assert re.search(died, last_line(errors.read_text()))
    assert not is_alive(worker), "a worker outlives a killed run"


def test_interrupted_from_the_terminal_a_run_ends_in_one_line(shards, model, tmp_path):
    process = started(shards, model, tmp_path / "run", steps=2, epochs=4000, workers=2)
    before = tree(process.pid)
    os.killpg(process.pid, signal.SIGINT)  # a terminal signals the workers, too
    assert process.wait(PATIENCE) == 130
    assert not [pid for pid in before if is_alive(pid)]


def test_launched_the_cause_is_the_last_line(shards, model, tmp_path):
    process = start(launched(shards, model, tmp_path / "run", learning_rate=1e30, warmup_steps=0, minutes=0))
    _, errors = ended(process)
    assert process.returncode == 2
    assert last_line(errors).startswith("cloob train: error: cc3m-cloob-tiny-test-seed3: a weight")
    assert "torch/distributed" not in errors
    assert "Traceback" not in errors


def test_below_the_report_of_torchrun_the_cause_is_repeated(shards, model, tmp_path):
    process = start(with_fault(["step", "ValueError"], command(shards, model, tmp_path / "run"), 2))
    _, errors = ended(process)
    assert process.returncode == 1
    assert "Root Cause" in errors
    assert last_line(errors) == "cloob train: error: ValueError: a fault in step"


def test_launched_a_killed_process_is_named_in_the_last_line(shards, model, tmp_path):
    process = start(launched(shards, model, tmp_path / "run", epochs=4000))
    until_a_step(process, tmp_path / "run")
    os.kill(tree(process.pid)[1], signal.SIGKILL)
    _, errors = ended(process)
    assert process.returncode == 2
    assert re.search("process . of 2 was killed by SIGKILL", last_line(errors))


def until_a_step(process, folder):
    log = folder / "checkpoints" / "metrics.jsonl"
    while not (log.exists() and '"step"' in log.read_text()):
        assert process.poll() is None
        time.sleep(0.05)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGUSR1])
def test_launched_and_asked_to_stop_it_saves_and_says_that_it_can_go_on(shards, model, tmp_path, number):
    process = start(launched(shards, model, tmp_path / "run", epochs=4000, workers=1))
    until_a_step(process, tmp_path / "run")
    process.send_signal(number)
    ended(process)
    assert process.returncode == 75
    assert list((tmp_path / "run" / "checkpoints").glob("epoch_*.pt"))


def test_launched_and_asked_to_stop_it_says_so_where_it_cannot_save(shards, model, tmp_path):
    limit = partial(resource.setrlimit, resource.RLIMIT_FSIZE, (400_000, 400_000))
    process = start(launched(shards, model, tmp_path / "run", epochs=4000), preexec_fn=limit)
    until_a_step(process, tmp_path / "run")
    process.send_signal(signal.SIGTERM)
    _, errors = ended(process)
    assert process.returncode == 2
    assert re.search(r"cloob train: error: .*epoch_.*\.pt: File too large", last_line(errors))


@pytest.mark.parametrize("by", ["cloob", "torchrun"])
def test_torchrun_killed_while_its_processes_import_takes_them_along(shards, model, tmp_path, by):
    arguments = (launched if by == "cloob" else partial(command, processes=2))(
        shards, model, tmp_path / "run"
    )
    process = start(arguments)
    while len(tree(process.pid)) < 3:
        assert process.poll() is None
        time.sleep(0.02)
    time.sleep(0.3)
    children = tree(process.pid)[1:]
    process.kill()
    process.wait()
    end = time.monotonic() + 20
    while left := [pid for pid in children if is_alive(pid)]:
        assert time.monotonic() < end, f"{left} go on without it"
        time.sleep(0.05)
    assert "process 0 of" not in process.communicate()[0], "it was killed too late to say anything"


def test_without_git_it_trains(shards, model, tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    run = Run(corpus="cc3m", objective="clip", architecture="tiny", recipe="test", seed=3)
    places, recipe = loop.Places(shards, shards, tmp_path), Recipe(**BASE | {"epochs": 1})
    with joined() as world:
        assert loop.train(run, recipe, model, places, set(), 15, 0, world, StopRequest())
    assert '"commit": null' in (tmp_path / "metrics.jsonl").read_text()


def in_small_shared_memory(arguments, size):
    mount = f'mount -t tmpfs -o size={size} tmpfs /dev/shm && exec "$@"'
    return ["unshare", "--mount", "--propagation", "private", "sh", "-c", mount, "sh", *arguments]


def can_mount():
    tried = subprocess.run(in_small_shared_memory(["true"], "1m"), capture_output=True, check=False)
    return tried.returncode == 0


needs_mount = pytest.mark.skipif(
    shutil.which("unshare") is None or not can_mount(), reason="mounting needs root"
)


@needs_mount
def test_shared_memory_that_is_too_small_is_found_at_the_start(shards, model, tmp_path):
    arguments = command(shards, model, tmp_path / "run", workers=2)
    process = start(in_small_shared_memory(arguments, "64k"))
    _, errors = ended(process)
    assert process.returncode == 2
    assert "/dev/shm: 2 loader workers need" in last_line(errors)
    assert len(errors.splitlines()) == 1


@needs_mount
@pytest.mark.parametrize("size", ["24k", "60k", "80k"])  # no semaphore, no batch, no second part of it fits
def test_shared_memory_that_fills_up_meanwhile_ends_the_run(shards, model, tmp_path, size):
    script = "import sys; from cloob.train import loop; loop.check_shared_memory = lambda *_: None\n"
    script += "from cloob.__main__ import run; run()"
    arguments = command(shards, model, tmp_path / "run", workers=2)
    arguments = [sys.executable, "-c", script, *arguments[arguments.index("cloob") + 1 :]]
    process = start(in_small_shared_memory(arguments, size))
    _, errors = ended(process)
    assert process.returncode == 2
    assert re.search("error: .*worker.*[Uu]se fewer workers", last_line(errors))
