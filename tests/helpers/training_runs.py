"""Run `cloob train` on tiny shards, in forks or as the pipeline starts it, and inspect what it wrote."""

import json
import os
import socket
import subprocess
import sys
import time

import pytest
import torch

from tests.helpers.forked import ForkedCloob
from tests.helpers.recipes import BASE

SIGNALS = "SIGTERM,SIGINT,SIGHUP,SIGQUIT,SIGUSR1"


def train_arguments(
    shards, model, folder, *, objective="cloob", minutes=15, workers=0, options=(), **changes
):
    """The arguments of `cloob` for a run with the base recipe and `changes`."""
    recipe = [f"--{name.replace('_', '-')}={value}" for name, value in (BASE | changes).items()]
    return [
        *("train", f"--shards={shards}", f"--validation={shards}", f"--folder={folder}"),
        *(f"--model={model}", f"--workers={workers}", "--corpus=cc3m", f"--objective={objective}"),
        *("--architecture=tiny", "--recipe=test", "--seed=3", "--keep-epochs", "1"),
        *(f"--checkpoint-interval-minutes={minutes}", *recipe, *options),
    ]


def launched_arguments(*arguments, processes=2, **changes):
    """The arguments of a run in which `cloob` itself starts torchrun."""
    return train_arguments(*arguments, options=[f"--processes={processes}"], **changes)


def run_train(shards, model, folder, *, processes=1, environment=None, cwd=None, before=(), **changes):
    """Run `cloob train` to its end in forks; returns status and output, like `subprocess.run`."""
    arguments = train_arguments(shards, model, folder, **changes)
    ranks = start_ranks(arguments, processes, environment=environment, cwd=cwd, before=before)
    outputs = [rank.communicate() for rank in ranks]
    status = next((rank.returncode for rank in ranks if rank.returncode), 0)
    return subprocess.CompletedProcess(arguments, status, *map("".join, zip(*outputs, strict=True)))


def start_train(shards, model, folder, steps, **changes):
    """Start a run of one process in a fork; returns it after so many steps."""
    process = ForkedCloob(train_arguments(shards, model, folder, **changes))
    wait_for_steps(process, folder, steps)
    return process


def start_ranks(arguments, processes, environment=None, **options):
    """Start the processes of a run in forks, connected as torchrun connects them."""
    environment, port = environment or dict(os.environ), free_port()
    return [
        ForkedCloob(
            arguments,
            environment | (torchrun_variables(rank, port, processes) if processes > 1 else {}),
            **options,
        )
        for rank in range(processes)
    ]


def train_command(*arguments, processes=1, **changes):
    """The command of a run in new processes; torchrun starts more than one."""
    python = torchrun_command(processes) if processes > 1 else [sys.executable]
    return [*python, "-m", "cloob", *train_arguments(*arguments, **changes)]


def start_torchrun(arguments, folder, steps, processes=2):
    """Start a run in new processes of torchrun; returns the process of torchrun after so many steps."""
    process = subprocess.Popen(
        [*torchrun_command(processes), "-m", "cloob", *arguments],
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    wait_for_steps(process, folder, steps)
    return process


def torchrun_command(processes):
    """The command of torchrun, as a user would type it."""
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
    return [*torchrun, f"--nproc-per-node={processes}", "--signals-to-handle", SIGNALS]


def torchrun_variables(rank, port, processes=2, **variables):
    """The variables that torchrun sets for one of the processes of a run."""
    torchrun = {"RANK": rank, "WORLD_SIZE": processes, "LOCAL_RANK": rank, "LOCAL_WORLD_SIZE": processes}
    torchrun |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port} | variables
    return {name: str(value) for name, value in torchrun.items()}


def start_like_srun(folder, arguments, **options):
    """Start two processes in forks, with the variables that srun sets and a fake scontrol."""
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
        ForkedCloob(
            arguments,
            os.environ | slurm | {"SLURM_PROCID": str(rank), "SLURM_LOCALID": str(rank)},
            **options,
        )
        for rank in range(2)
    ]


def free_port():
    """A TCP port that no process uses."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def logged_steps(folder):
    """The number of steps in the log of a run in progress."""
    log = folder / "checkpoints" / "metrics.jsonl"
    return log.read_text().count('"step"') if log.exists() else 0


def wait_for_steps(process, folder, steps):
    """Wait until a run has logged so many steps, or has ended."""
    while process.poll() is None and logged_steps(folder) < steps:
        time.sleep(0.01)


def wait_for_first_step(process, folder):
    """Wait until a run has logged a step."""
    wait_for_steps(process, folder, 1)
    assert process.poll() is None, "the run ended before its first step"


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
