"""Whole runs of `cloob train`, as the pipeline starts them, on 22 pairs."""

import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import open_clip
import pytest
import torch
from PIL import Image

from cloob.models.load import load_model
from cloob.models.preprocessing import evaluation_transform
from tests.helpers.recipes import BASE

pytestmark = pytest.mark.timeout(300)


def command(shards, model, folder, *, processes=1, objective="cloob", minutes=15, workers=0, **changes):
    recipe = [f"--{name.replace('_', '-')}={value}" for name, value in (BASE | changes).items()]
    launcher = ["-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={processes}"]
    launcher += ["--signals-to-handle", "SIGTERM,SIGINT,SIGHUP,SIGQUIT,SIGUSR1", "-m", "cloob"]
    return [
        sys.executable,
        *(launcher if processes > 1 else ["-m", "cloob"]),
        *("train", f"--shards={shards}", f"--validation={shards}", f"--folder={folder}"),
        *(f"--model={model}", f"--workers={workers}", "--corpus=cc3m", f"--objective={objective}"),
        *("--architecture=tiny", "--recipe=test", "--seed=3", "--keep-epochs", "1"),
        *(f"--checkpoint-interval-minutes={minutes}", *recipe),
    ]


def run(*arguments, **changes):
    return subprocess.run(command(*arguments, **changes), capture_output=True, text=True, check=False)


def events(folder, kind):
    lines = map(json.loads, (folder / "metrics.jsonl").read_text().splitlines())
    return [line for line in lines if line["event"] == kind]


def losses(folder):
    return [step["loss"] for step in events(folder, "step")]


@pytest.fixture(scope="module")
def finished(shards, model, tmp_path_factory):
    """An uninterrupted run of three epochs, a checkpoint at each of its steps."""
    folder = tmp_path_factory.mktemp("runs") / "whole"
    done = run(shards, model, folder, minutes=0)
    assert done.returncode == 0, done.stderr
    return folder


def test_a_run_leaves_a_final_checkpoint_and_its_metrics(finished):
    final = torch.load(finished / "final.pt", weights_only=True)
    assert (final["epoch"], final["samples_seen"]) == (3, 48)
    assert final["run"]["name"] == "cc3m-cloob-tiny-test-seed3"
    assert [step["step"] for step in events(finished, "step")] == [1, 2, 3, 4, 5, 6]
    assert [event["epoch"] for event in events(finished, "validation")] == [1, 2, 3]
    assert all(0 < event["loss"] < 1 for event in events(finished, "validation"))
    assert all(0 < event["saturation"] < 1 for event in events(finished, "validation"))
    assert sorted(path.name for path in finished.iterdir()) == [
        "checkpoints",
        "final.pt",
        "metrics.jsonl",
        "open_clip",
    ]


def test_open_clip_loads_the_export_and_embeds_the_same(finished):
    theirs, _, transform = open_clip.create_model_and_transforms(f"local-dir:{finished / 'open_clip'}")
    ours = load_model(finished / "final.pt")
    picture = Image.effect_noise((50, 40), 64).convert("RGB")
    mine = evaluation_transform(ours.config)(picture)
    assert torch.equal(transform(picture), mine)
    tokens = open_clip.SimpleTokenizer(context_length=12)(["two dogs", "a blue circle on grass"])
    with torch.inference_mode():
        theirs.eval()
        torch.testing.assert_close(theirs.encode_image(mine[None]), ours.encode_image(mine[None]))
        torch.testing.assert_close(theirs.encode_text(tokens), ours.encode_text(tokens))


def test_what_is_not_finite_ends_the_run_and_says_where_it_was_good(shards, model, tmp_path):
    done = run(shards, model, tmp_path / "run", learning_rate=1e30, warmup_steps=0, minutes=0)
    assert done.returncode == 2
    assert len(done.stderr.splitlines()) == 1
    assert (
        "a weight is not finite at step 1, learning rate 1e+30; the last good checkpoint is none"
        in done.stderr
    )
    assert not list((tmp_path / "run").glob("**/*.pt"))


def test_a_checkpoint_whose_weights_gave_the_loss_that_is_not_finite_is_not_called_good(
    shards, model, tmp_path
):
    done = run(
        shards, model, tmp_path / "run", learning_rate=1e13, warmup_steps=1, schedule="cosine", minutes=0
    )
    assert done.returncode == 2
    kept = sorted(path.name for path in (tmp_path / "run" / "checkpoints").glob("*.pt"))
    said = re.search(r"loss is not finite at step (\d), .* the last good checkpoint is (\S+) in", done.stderr)
    assert said, done.stderr
    assert kept, "no checkpoint before the loss was lost"
    assert said[2] != kept[-1]


def by_srun(folder, arguments):
    """Two processes with the variables that srun sets."""
    (folder / "scontrol").write_text(
        "#!/bin/sh\ncase $2 in hostnames) echo node1;; *) echo NodeName=node1 NodeAddr=127.0.0.1;; esac\n"
    )
    (folder / "scontrol").chmod(0o755)
    slurm = {
        "PATH": f"{folder}:{os.environ['PATH']}",
        "SLURM_JOB_ID": str(os.getpid()),
        "SLURM_STEP_NUM_TASKS": "2",
        "SLURM_STEP_TASKS_PER_NODE": "2",
        "SLURM_STEP_NODELIST": "node[1-1]",
    }
    return [
        subprocess.Popen(
            arguments, env=os.environ | slurm | {"SLURM_PROCID": str(rank), "SLURM_LOCALID": str(rank)}
        )
        for rank in range(2)
    ]


def test_started_by_srun_the_processes_find_each_other(finished, shards, model, tmp_path):
    tasks = by_srun(tmp_path, command(shards, model, tmp_path / "run"))
    assert [task.wait(120) for task in tasks] == [0, 0]
    assert events(tmp_path / "run", "start")[0]["processes"] == 2
    assert losses(tmp_path / "run") == pytest.approx(losses(finished), rel=1e-2)


def test_from_scratch_it_is_the_same_run_and_the_copy_is_gone(finished, shards, model, tmp_path):
    scratch = tmp_path / "node"
    arguments = command(shards, model, tmp_path / "run")
    done = subprocess.run(
        [*arguments, "--node-local-dir=$NODE_DISK"],
        env=os.environ | {"NODE_DISK": str(scratch)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "to scratch" in done.stderr
    assert list(scratch.iterdir()) == []
    assert_same_run(finished, tmp_path / "run")


def test_two_processes_wait_for_the_copy_and_the_dead_ones_copy_is_gone(finished, shards, model, tmp_path):
    dead = tmp_path / "node" / "cloob-shards-0123"
    dead.mkdir(parents=True)
    (dead / "000000.tar").write_bytes(b"half")
    arguments = command(shards, model, tmp_path / "run", processes=2)
    done = subprocess.run(
        [*arguments, f"--node-local-dir={tmp_path / 'node'}"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert list((tmp_path / "node").iterdir()) == []
    assert losses(tmp_path / "run") == pytest.approx(losses(finished), rel=1e-2)


# Slow file systems: `cloob` with a copy and a checkpoint that take their time.
SLOWLY = """
import sys, time
from cloob.cli import main
from cloob.train import local_copy as scratch
from cloob.train import loop

def slow(function):
    def called(*arguments):
        time.sleep(2)
        return function(*arguments)
    return called

scratch.sha256_file, loop.save_checkpoint = slow(scratch.sha256_file), slow(loop.save_checkpoint)
main()
"""


def slowly(arguments):
    """The same command, on a slow file system."""
    return [sys.executable, "-c", SLOWLY, *arguments[arguments.index("cloob") + 1 :]]


def test_asked_to_stop_no_process_ends_before_the_checkpoint_is_written(shards, model, tmp_path):
    folder = tmp_path / "run"
    tasks = by_srun(tmp_path, slowly(command(shards, model, folder, epochs=400)))
    log = folder / "checkpoints" / "metrics.jsonl"
    while not (log.exists() and '"step"' in log.read_text()):
        time.sleep(0.01)
        assert tasks[0].poll() is None
    for task in tasks:
        task.send_signal(signal.SIGUSR1)
    assert tasks[1].wait(60) == 75
    assert list((folder / "checkpoints").glob("*.pt"))
    assert tasks[0].wait(60) == 75


def test_asked_to_stop_while_it_copies_it_stops_copying(shards, model, tmp_path):
    arguments = [*command(shards, model, tmp_path / "run"), f"--node-local-dir={tmp_path / 'node'}"]
    process = subprocess.Popen(slowly(arguments))
    while not list(tmp_path.glob("node/*/*.tar")):
        time.sleep(0.01)
        assert process.poll() is None
    process.send_signal(signal.SIGTERM)
    assert process.wait(60) == 75
    assert list((tmp_path / "node").iterdir()) == []
    assert not (tmp_path / "run" / "checkpoints" / "metrics.jsonl").exists()


def test_a_copy_that_is_not_what_the_manifest_says_is_refused(shards, model, tmp_path):
    damaged = tmp_path / "shards"
    shutil.copytree(shards.parent, damaged)
    tar = damaged / "000001.tar"
    tar.write_bytes(tar.read_bytes()[:-1] + b"x")
    done = subprocess.run(
        [*command(damaged / "shards.json", model, tmp_path / "run"), f"--node-local-dir={tmp_path / 'node'}"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    assert "has not the manifest's hash" in done.stderr
    assert list((tmp_path / "node").iterdir()) == []


def test_cloob_keeps_its_temperature(finished):
    temperatures = [step["inv_temperature"] for step in events(finished, "step")]
    assert temperatures == pytest.approx([30.0] * 6)


def assert_same_run(one, other):
    """The same weights and the same losses, to the bit."""
    whole, resumed = (torch.load(folder / "final.pt", weights_only=True) for folder in (one, other))
    for name, weight in whole["state_dict"].items():
        assert torch.equal(weight, resumed["state_dict"][name]), name
    losses = [[(step["step"], step["loss"]) for step in events(folder, "step")] for folder in (one, other)]
    assert losses[0] == losses[1]


@pytest.mark.parametrize("checkpoint", ["epoch_0001.pt", "epoch_0002_step_00000001.pt"])
def test_interrupted_and_resumed_equals_uninterrupted_to_the_bit(
    finished, shards, model, tmp_path, checkpoint
):
    folder = tmp_path / "resumed"
    (folder / "checkpoints").mkdir(parents=True)
    shutil.copy(finished / "checkpoints" / checkpoint, folder / "checkpoints")
    shutil.copy(finished / "checkpoints" / "metrics.jsonl", folder / "checkpoints")
    torn = (finished / "checkpoints" / "epoch_0003.pt").read_bytes()[:1000]
    (folder / "checkpoints" / "epoch_0003.pt").write_bytes(torn)
    done = run(shards, model, folder)
    assert done.returncode == 0, done.stderr
    assert "is passed over" in done.stdout
    assert_same_run(finished, folder)


def started(shards, model, folder, steps, **changes):
    """A run that has made so many steps."""
    process = subprocess.Popen(
        command(shards, model, folder, **changes), stderr=subprocess.DEVNULL, start_new_session=True
    )
    log = folder / "checkpoints" / "metrics.jsonl"
    while process.poll() is None and not (log.exists() and log.read_text().count('"step"') >= steps):
        time.sleep(0.01)
    return process


@pytest.fixture(scope="module")
def long(shards, model, tmp_path_factory):
    """An uninterrupted run of sixty epochs."""
    folder = tmp_path_factory.mktemp("runs") / "long"
    assert run(shards, model, folder, epochs=60).returncode == 0
    return folder


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGUSR1])
def test_asked_to_stop_it_saves_and_says_that_it_can_go_on(long, shards, model, tmp_path, number):
    stopped = tmp_path / "stopped"
    process = started(shards, model, stopped, steps=3, epochs=60, workers=2)
    os.killpg(process.pid, number)  # as schedulers do: the loader's processes get it too
    assert process.wait(60) == 75
    assert not (stopped / "final.pt").exists()
    assert run(shards, model, stopped, epochs=60).returncode == 0
    assert len(events(stopped, "start")) == 2
    assert_same_run(long, stopped)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGUSR1])
def test_torchrun_asked_to_stop_has_its_processes_save(shards, model, tmp_path, number):
    process = started(shards, model, tmp_path / "run", steps=3, epochs=400, processes=2)
    process.send_signal(number)
    assert process.wait(60) == 1
    last = events(tmp_path / "run" / "checkpoints", "step")[-1]
    newest = max((tmp_path / "run" / "checkpoints").glob("*.pt"))
    assert torch.load(newest, weights_only=True)["samples_seen"] == last["samples_seen"] < 400 * 16


def test_asked_to_stop_while_it_starts_it_stops_after_one_step(shards, model, tmp_path):
    process = subprocess.Popen(command(shards, model, tmp_path / "run", epochs=400))
    time.sleep(1)  # it is importing torch
    process.send_signal(signal.SIGTERM)
    assert process.wait(60) == 75
    assert len(events(tmp_path / "run" / "checkpoints", "step")) == 1


def test_a_folder_is_trained_in_by_one_run_at_a_time(shards, model, tmp_path):
    process = started(shards, model, tmp_path / "run", steps=1, epochs=400)
    second = run(shards, model, tmp_path / "run", epochs=400)
    assert process.poll() is None, "it ended too early to say anything"
    process.kill()
    process.wait(60)
    assert second.returncode == 2
    assert "in use by another process" in second.stderr


def test_killed_torchrun_takes_its_processes_along(shards, model, tmp_path):
    process = started(shards, model, tmp_path / "run", steps=1, epochs=400, processes=2)
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    assert len(children) >= 2
    process.kill()
    process.wait(60)
    end = time.monotonic() + 20
    while any(is_alive(child) for child in children):
        assert time.monotonic() < end, "its processes go on without it"
        time.sleep(0.05)


def is_alive(pid):
    try:
        return "\nState:\tZ" not in Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return False


def statistics(folder):
    state = torch.load(folder / "final.pt", weights_only=True)["state_dict"]
    return {
        name: value.double() for name, value in state.items() if "running" in name or "num_batches" in name
    }


# In float64: over fifty steps AdamW makes differences of 1e-4 out of the order of float32 sums.
ELASTIC = {"epochs": 50, "batch_size": 16, "micro_batch_size": 4, "precision": "float64"}


@pytest.fixture(scope="module")
def alone(shards, model, tmp_path_factory):
    """Fifty steps of four micro-batches in one process."""
    folder = tmp_path_factory.mktemp("runs") / "alone"
    assert run(shards, model, folder, **ELASTIC).returncode == 0
    return folder


def assert_close_run(one, other):
    assert losses(other) == pytest.approx(losses(one), rel=1e-4)
    there = statistics(other)
    for name, value in statistics(one).items():
        assert (value - there[name]).abs().max() <= 1e-4 * value.abs().max(), name


@pytest.mark.parametrize("processes", [2, 4])
def test_any_number_of_processes_trains_the_same_run(alone, shards, model, tmp_path, processes):
    assert len(losses(alone)) == 50
    done = run(shards, model, tmp_path / "run", processes=processes, **ELASTIC)
    assert done.returncode == 0, done.stderr
    assert_close_run(alone, tmp_path / "run")


@pytest.mark.parametrize("processes", [1, 4])
def test_killed_with_two_processes_it_ends_with_another_number(alone, shards, model, tmp_path, processes):
    killed = started(shards, model, tmp_path / "run", steps=20, processes=2, minutes=0, **ELASTIC)
    killed.kill()
    killed.wait(60)
    time.sleep(1)  # its processes end with it, the lock with them
    done = run(shards, model, tmp_path / "run", processes=processes, **ELASTIC)
    assert done.returncode == 0, done.stderr
    assert [start["processes"] for start in events(tmp_path / "run", "start")] == [2, processes]
    assert_close_run(alone, tmp_path / "run")


@pytest.mark.parametrize("processes", [2, 4])
def test_several_processes_interrupted_and_resumed_equal_uninterrupted_to_the_bit(
    shards, model, tmp_path, processes
):
    changes = {"processes": processes, "batch_size": 16, "micro_batch_size": 4, "epochs": 6}
    whole, resumed = tmp_path / "whole", tmp_path / "resumed"
    assert run(shards, model, whole, minutes=0, **changes).returncode == 0
    (resumed / "checkpoints").mkdir(parents=True)
    for name in ("epoch_0005.pt", "metrics.jsonl"):
        shutil.copy(whole / "checkpoints" / name, resumed / "checkpoints")
    assert run(shards, model, resumed, **changes).returncode == 0
    assert [start["samples_seen"] for start in events(resumed, "start")] == [0, 80]
    assert_same_run(whole, resumed)


@pytest.mark.parametrize("precision", ["bfloat16", "float16"])
def test_a_lower_precision_trains_about_the_same(alone, shards, model, tmp_path, precision):
    done = run(shards, model, tmp_path / "run", **ELASTIC | {"precision": precision})
    assert done.returncode == 0, done.stderr
    assert losses(tmp_path / "run")[:5] == pytest.approx(losses(alone)[:5], abs=0.05)
    assert losses(tmp_path / "run")[-1] < losses(tmp_path / "run")[0]


def test_gradient_checkpointing_changes_nothing(finished, shards, model, tmp_path):
    assert run(shards, model, tmp_path / "run", gradient_checkpointing=True).returncode == 0
    assert losses(tmp_path / "run") == pytest.approx(losses(finished), rel=1e-5)
    there, here = (
        torch.load(folder / "final.pt", weights_only=True) for folder in (finished, tmp_path / "run")
    )
    for name, value in there["state_dict"].items():
        torch.testing.assert_close(here["state_dict"][name], value, rtol=1e-3, atol=1e-4, msg=name)


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("g++") is None, reason="torch.compile needs a C++ compiler")
def test_compiled_it_trains_the_same(finished, shards, model, tmp_path):
    done = run(shards, model, tmp_path / "run", compile=True)
    assert done.returncode == 0, done.stderr
    assert losses(tmp_path / "run") == pytest.approx(losses(finished), rel=1e-3)


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_two_processes_killed_ten_times_end_with_the_same_weights(shards, model, tmp_path):
    changes = {"processes": 2, "minutes": 0.001, "epochs": 300}
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    assert run(shards, model, whole, **changes).returncode == 0
    moments = random.Random(0)
    for kill in range(10):
        process = started(shards, model, killed, steps=(kill + 1) * 40, **changes)
        time.sleep(moments.uniform(0, 1))
        os.killpg(process.pid, signal.SIGKILL)
        assert process.wait(60) == -signal.SIGKILL
    assert run(shards, model, killed, **changes).returncode == 0
    assert len(events(killed, "start")) > 5
    assert_same_run(whole, killed)


def test_another_recipe_is_refused_in_one_line(finished, shards, model, tmp_path):
    folder = tmp_path / "copy"
    shutil.copytree(finished, folder)
    done = run(shards, model, folder, learning_rate=5e-4)
    assert done.returncode == 2
    assert done.stderr.startswith("cloob train: error: ")
    assert "recipe.learning_rate 0.001 there, 0.0005 now" in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_two_processes_train_with_either_objective_and_repeat_themselves(shards, model, tmp_path):
    finals = []
    for name, objective in (("a", "clip"), ("b", "clip")):
        done = run(
            shards,
            model,
            tmp_path / name,
            processes=2,
            objective=objective,
            epochs=1,
            learnable_temperature=True,
            inv_temperature=14.3,
        )
        assert done.returncode == 0, done.stderr
        finals.append(torch.load(tmp_path / name / "final.pt", weights_only=True)["state_dict"])
    assert all(torch.equal(finals[0][name], finals[1][name]) for name in finals[0])
    rates = [step["inv_temperature"] for step in events(tmp_path / "a", "step")]
    assert rates[0] == pytest.approx(14.3)


def with_swapped_shards(shards, folder):
    """The same corpus with two of its files exchanged, as a wrong copy leaves it; gives the manifest."""
    shutil.copytree(shards.parent, folder)
    one, other = folder / "000000.parquet", folder / "000001.parquet"
    one.rename(folder / "aside")
    other.rename(one)
    (folder / "aside").rename(other)
    return folder / "shards.json"


def test_swapped_indexes_are_found_before_the_first_step(shards, model, tmp_path):
    done = run(with_swapped_shards(shards, tmp_path / "shards"), model, tmp_path / "run")
    assert done.returncode == 2
    assert re.search(
        r"000000\.parquet: changed after packing .* run `cloob shards verify`", done.stderr.splitlines()[-1]
    )
    assert not list(tmp_path.glob("run/**/*.pt"))


@pytest.mark.parametrize("processes", [1, 2])
def test_a_shard_that_was_changed_ends_the_run_by_its_name(shards, model, tmp_path, processes):
    shutil.copytree(shards.parent, tmp_path / "shards")
    tar = tmp_path / "shards" / "000001.tar"
    tar.write_bytes(bytes(tar.stat().st_size))  # the right size, every image gone
    arguments = command(tmp_path / "shards" / "shards.json", model, tmp_path / "run", workers=1)
    arguments += [f"--processes={processes}"]
    done = subprocess.run(arguments, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    last = done.stderr.splitlines()[-1]
    assert last.startswith(f"cloob train: error: {tar}: changed after packing: ")
    assert "run `cloob shards verify`" in last
    assert not list(tmp_path.glob("run/**/*.pt"))


def test_a_share_of_replaced_pairs_is_allowed_by_the_config(shards, model, tmp_path):
    shutil.copytree(shards.parent, tmp_path / "shards")
    tar = tmp_path / "shards" / "000001.tar"
    content = bytearray(tar.read_bytes())
    content[512:2048] = bytes(1536)  # the first image
    tar.write_bytes(content)
    arguments = command(tmp_path / "shards" / "shards.json", model, tmp_path / "run")
    stopped = subprocess.run(arguments, capture_output=True, text=True, check=False)
    assert stopped.returncode == 2
    assert stopped.stderr.splitlines()[-1].startswith(
        f"cloob train: error: {tar}: changed after packing: 1 of its pairs do not decode; "
    )
    done = subprocess.run(
        [*arguments, "--max-replaced-fraction=0.5"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert 1 <= sum(step["replaced"] for step in events(tmp_path / "run", "step")) <= 3


LIMITED = """
import resource, sys
from cloob.cli import main
resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, 200_000))
main()
"""


@pytest.mark.parametrize("processes", [1, 2])
def test_a_disk_that_is_full_at_a_checkpoint_is_one_line_and_the_last_one(shards, model, tmp_path, processes):
    arguments = [*command(shards, model, tmp_path / "run", minutes=0), f"--processes={processes}"]
    arguments = [sys.executable, "-c", LIMITED, *arguments[arguments.index("cloob") + 1 :]]
    done = subprocess.run(arguments, capture_output=True, text=True, check=False)
    assert done.returncode == 2, done.stderr
    path = tmp_path / "run" / "checkpoints" / "epoch_0000_step_00000001.pt"
    assert done.stderr.splitlines()[-1].startswith(
        f"cloob train: error: {path}: File too large; raise the file size limit"
    )
    assert "Traceback" not in done.stderr
    assert not list(tmp_path.glob("run/**/*.pt"))


def test_a_scratch_folder_of_a_variable_that_is_not_set_is_one_line(shards, model, tmp_path):
    arguments = [*command(shards, model, tmp_path / "run"), "--node-local-dir=$CLOOB_NO_SUCH_DISK"]
    done = subprocess.run(arguments, capture_output=True, text=True, check=False, cwd=tmp_path)
    assert done.returncode == 2
    assert "$CLOOB_NO_SUCH_DISK is not set in this job on" in done.stderr.splitlines()[-1]
    assert [path.name for path in tmp_path.iterdir()] == ["run"]


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ('{"embed_dim": 16}', "vision_cfg is missing"),
        ("[1]", "not a model configuration"),
        ("{", "not JSON"),
        (None, "No such file"),
    ],
)
def test_a_model_file_that_is_wrong_is_one_line_at_the_start(shards, tmp_path, content, said):
    path = tmp_path / "model.json"
    if content is not None:
        path.write_text(content)
    done = run(shards, path, tmp_path / "run")
    assert done.returncode == 2
    last = done.stderr.splitlines()[-1]
    assert last.startswith(f"cloob train: error: {path}: ")
    assert said in last
