"""Start `cloob train` on tiny shards, as the pipeline starts it, and inspect what it wrote."""

import json
import os
import subprocess
import sys
import time

import pytest
import torch

from tests.helpers.recipes import BASE

SIGNALS = "SIGTERM,SIGINT,SIGHUP,SIGQUIT,SIGUSR1"


def train_command(
    shards, model, folder, *, processes=1, objective="cloob", minutes=15, workers=0, options=(), **changes
):
    """The command of a run with the base recipe and `changes`; torchrun starts more than one process."""
    recipe = [f"--{name.replace('_', '-')}={value}" for name, value in (BASE | changes).items()]
    torchrun = ["-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={processes}"]
    torchrun += ["--signals-to-handle", SIGNALS, "-m", "cloob"]
    return [
        sys.executable,
        *(torchrun if processes > 1 else ["-m", "cloob"]),
        *("train", f"--shards={shards}", f"--validation={shards}", f"--folder={folder}"),
        *(f"--model={model}", f"--workers={workers}", "--corpus=cc3m", f"--objective={objective}"),
        *("--architecture=tiny", "--recipe=test", "--seed=3", "--keep-epochs", "1"),
        *(f"--checkpoint-interval-minutes={minutes}", *recipe, *options),
    ]


def launched_command(*arguments, processes=2, **changes):
    """The command of a run in which `cloob` itself starts torchrun."""
    return train_command(*arguments, options=[f"--processes={processes}"], **changes)


def cloob_arguments(command):
    """The part of a command after `cloob`."""
    return command[command.index("cloob") + 1 :]


def run_train(*arguments, **changes):
    """Run `train_command` to its end."""
    return run_command(train_command(*arguments, **changes))


def run_command(command, **options):
    """Run a command to its end and capture its output."""
    return subprocess.run(command, capture_output=True, text=True, check=False, **options)


def start_train(shards, model, folder, steps, **changes):
    """Start a run and return its process after so many steps."""
    process = subprocess.Popen(
        train_command(shards, model, folder, **changes), stderr=subprocess.DEVNULL, start_new_session=True
    )
    while process.poll() is None and logged_steps(folder) < steps:
        time.sleep(0.01)
    return process


def start_like_srun(folder, command):
    """Start two processes with the variables that srun sets, and a fake scontrol."""
    scontrol = folder / "scontrol"
    scontrol.write_text(
        "#!/bin/sh\ncase $2 in hostnames) echo node1;; *) echo NodeName=node1 NodeAddr=127.0.0.1;; esac\n"
    )
    scontrol.chmod(0o755)
    slurm = {
        "PATH": f"{folder}:{os.environ['PATH']}",
        "SLURM_JOB_ID": str(os.getpid()),
        "SLURM_STEP_NUM_TASKS": "2",
        "SLURM_STEP_TASKS_PER_NODE": "2",
        "SLURM_STEP_NODELIST": "node[1-1]",
    }
    return [
        subprocess.Popen(
            command, env=os.environ | slurm | {"SLURM_PROCID": str(rank), "SLURM_LOCALID": str(rank)}
        )
        for rank in range(2)
    ]


def logged_steps(folder):
    """The number of steps in the log of a run in progress."""
    log = folder / "checkpoints" / "metrics.jsonl"
    return log.read_text().count('"step"') if log.exists() else 0


def wait_for_first_step(process, folder):
    """Wait until a run has logged a step; `process` is a Popen or a multiprocessing process."""
    while logged_steps(folder) == 0:
        status = process.poll() if isinstance(process, subprocess.Popen) else process.exitcode
        assert status is None, "the run ended before its first step"
        time.sleep(0.01)


def read_events(folder, kind):
    """The events of a kind in the log of a finished run, or of a checkpoint folder."""
    lines = map(json.loads, (folder / "metrics.jsonl").read_text().splitlines())
    return [line for line in lines if line["event"] == kind]


def read_losses(folder):
    """The loss of every step."""
    return [step["loss"] for step in read_events(folder, "step")]


def read_final(folder):
    """The content of the final checkpoint."""
    return torch.load(folder / "final.pt", weights_only=True)


def checkpoint_names(folder):
    """The names of the running checkpoints, oldest first."""
    return sorted(path.name for path in (folder / "checkpoints").glob("*.pt"))


def assert_bit_identical(expected, actual):
    """Two runs have the same weights and the same losses, bit for bit."""
    expected_weights, weights = (read_final(folder)["state_dict"] for folder in (expected, actual))
    for name, weight in expected_weights.items():
        assert torch.equal(weight, weights[name]), name
    losses = [
        [(step["step"], step["loss"]) for step in read_events(folder, "step")]
        for folder in (expected, actual)
    ]
    assert losses[0] == losses[1]


def assert_close(expected, actual):
    """Two runs have the same losses and BatchNorm statistics, up to rounding."""
    assert read_losses(actual) == pytest.approx(read_losses(expected), rel=1e-4)
    statistics = _batchnorm_statistics(actual)
    for name, value in _batchnorm_statistics(expected).items():
        assert (value - statistics[name]).abs().max() <= 1e-4 * value.abs().max(), name


def _batchnorm_statistics(folder):
    state = read_final(folder)["state_dict"]
    return {
        name: value.double() for name, value in state.items() if "running" in name or "num_batches" in name
    }
