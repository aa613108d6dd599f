"""A run trains only with its own processes; every problem at startup is reported in one line."""

import os
import re
import signal
import socket
import subprocess
import sys
import time
from datetime import timedelta
from functools import partial
from pathlib import Path

import pytest

from cloob.common.errors import InputError
from cloob.train import distributed, rendezvous
from tests.helpers.faults import die_in_init_process_group, shorten_rendezvous
from tests.helpers.forked import ForkedCloob
from tests.helpers.process_endings import communicate, input_error
from tests.helpers.repository import ROOT
from tests.helpers.training_runs import (
    free_port,
    torchrun_variables,
    train_arguments,
    wait_for_first_step,
)

pytestmark = pytest.mark.timeout(300)
DEFAULT_TIMEOUT = rendezvous._TIMEOUT


def start_with(arguments, before=(), **variables):
    """Start a process with these environment variables."""
    variables = {name: str(value) for name, value in variables.items()}
    return ForkedCloob(arguments, os.environ | variables, before=before)


def error_of(arguments, before=(), **variables):
    """The one-line error of a process with these environment variables."""
    return input_error(start_with(arguments, before, **variables))


def errors_of_two_ranks(arguments_by_rank, variables_by_rank):
    """The one-line errors of two processes that connect to each other."""
    pairs = zip(arguments_by_rank, variables_by_rank, strict=True)
    processes = [start_with(arguments, **variables) for arguments, variables in pairs]
    return [input_error(process) for process in processes]


@pytest.mark.parametrize(
    "change", ["--seed=4", "--learning-rate=2e-3", "--folder=b", "--shards=c.json", "--validation=d.json"]
)
def test_processes_of_two_runs_at_the_same_port_all_end(shards, model, tmp_path, change):
    port, arguments = free_port(), train_arguments(shards, model, tmp_path / "a")
    lines = errors_of_two_ranks(
        (arguments, [*arguments, change]), [torchrun_variables(rank, port) for rank in range(2)]
    )
    for line in lines:
        assert "processes of two runs connected here" in line
        assert change.split("=")[0].strip("-").replace("-", "_") in line
    assert not list(tmp_path.glob("*/checkpoints/metrics.jsonl"))


@pytest.mark.parametrize(
    "name", ["SLURM_STEP_ID", "SLURM_JOB_ID", "TORCHELASTIC_RUN_ID", "SLURM_STEP_NODELIST"]
)
def test_processes_of_two_starts_of_the_same_run_do_not_mix(shards, model, tmp_path, name):
    # torchrun's own processes die with their parent, which is the test here.
    port, arguments = free_port(), train_arguments(shards, model, tmp_path / "run")
    variables = [torchrun_variables(rank, port, **{name: f"1{rank}"}) for rank in range(2)]
    for line in errors_of_two_ranks((arguments, arguments), variables):
        assert "processes of two runs connected here" in line


def test_a_duplicate_rank_is_rejected_and_the_run_continues(shards, model, tmp_path):
    port, arguments = free_port(), train_arguments(shards, model, tmp_path / "run", epochs=4000)
    processes = [start_with(arguments, **torchrun_variables(rank, port)) for rank in range(2)]
    wait_for_first_step(processes[0], tmp_path / "run")
    error = error_of(arguments, **torchrun_variables(1, port))
    assert "process 1 of another run is connected already" in error
    for process in processes:
        assert process.poll() is None
        process.send_signal(signal.SIGTERM)
    for process in processes:
        communicate(process)
    assert [process.returncode for process in processes] == [75, 75]


def test_a_port_in_use_is_reported_in_one_line(shards, model, tmp_path):
    with socket.socket() as server:
        server.bind(("", 0))
        server.listen()
        variables = torchrun_variables(0, server.getsockname()[1])
        line = error_of(train_arguments(shards, model, tmp_path / "run"), **variables)
    assert re.fullmatch(r"cloob train: error: MASTER_PORT: .* \(Address already in use\); set another", line)


@pytest.mark.parametrize(
    ("variable", "value", "message"),
    [
        ("MASTER_ADDR", "no-such-host.invalid", "MASTER_ADDR: no-such-host.invalid cannot be resolved"),
        ("MASTER_PORT", "many", "MASTER_PORT is 'many'"),
        ("MASTER_PORT", "0", "MASTER_PORT is '0'"),
        ("MASTER_PORT", "99999", "MASTER_PORT: 127.0.0.1:99999 cannot be used"),
        ("MASTER_ADDR", "", "MASTER_ADDR is ''"),
        ("RANK", "x", "RANK is 'x', not an integer of at least 0"),
        ("RANK", "2", "RANK is 2, but WORLD_SIZE is 2"),
        ("WORLD_SIZE", "0", "WORLD_SIZE is '0', not an integer of at least 1"),
        ("LOCAL_WORLD_SIZE", "0", "LOCAL_WORLD_SIZE is '0', not an integer of at least 1"),
    ],
)
def test_an_invalid_variable_is_reported_at_once(shards, model, tmp_path, variable, value, message):
    variables = torchrun_variables(0, 29600, **{variable: value})
    assert message in error_of(train_arguments(shards, model, tmp_path / "run"), **variables)


def test_connecting_to_an_unresponsive_server_times_out(shards, model, tmp_path):
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        variables = torchrun_variables(1, silent.getsockname()[1])
        arguments = train_arguments(shards, model, tmp_path / "run")
        line = error_of(arguments, before=[shorten_rendezvous], **variables)
    assert "process 1 of 2 cannot connect to the others (no response)" in line


def test_ctrl_c_ends_a_process_that_waits_for_the_others(shards, model, tmp_path):
    arguments = train_arguments(shards, model, tmp_path / "run")
    process = start_with(arguments, **torchrun_variables(0, free_port()))
    time.sleep(1)
    assert process.poll() is None
    process.send_signal(signal.SIGINT)
    assert process.wait(10) == 130
    assert process.stderr == "cloob train: interrupted\n"


def test_a_process_that_dies_during_startup_is_reported_by_the_others(shards, model, tmp_path):
    port, arguments = free_port(), train_arguments(shards, model, tmp_path / "run")
    before = [partial(shorten_rendezvous, grace=2)]
    dying = start_with(arguments, [*before, die_in_init_process_group], **torchrun_variables(1, port))
    line = error_of(arguments, before, **torchrun_variables(0, port))
    assert "process 0 of 2 lost the connection to another process at startup" in line
    assert dying.wait(60) == 1


def test_waiting_for_a_process_that_never_starts_times_out(monkeypatch):
    monkeypatch.setattr(rendezvous, "_TIMEOUT", timedelta(seconds=1))
    for name, value in {"RANK": "0", "WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1"}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("MASTER_PORT", str(free_port()))
    with pytest.raises(InputError, match=r"process 0 of 2 cannot connect to the others .*1/2 clients"):
        rendezvous.shared_store(0, 2, {})
    assert timedelta(minutes=1) < DEFAULT_TIMEOUT < timedelta(minutes=30)


def test_every_job_step_has_its_own_port():
    steps = [
        {"SLURM_JOB_ID": str(job), "SLURM_STEP_ID": str(step)} for job in (7, 8, 20007) for step in range(4)
    ]
    ports = [distributed._step_port(step) for step in steps]
    assert len(set(ports)) == len(ports)
    assert all(1024 < port < 32768 for port in ports)
    assert distributed._step_port({"SLURM_JOB_ID": "7"}) == ports[0]  # the step is not set


SLURM = {
    "SLURM_JOB_ID": "5",
    "SLURM_STEP_NUM_TASKS": "2",
    "SLURM_STEP_TASKS_PER_NODE": "2",
    "SLURM_STEP_NODELIST": "n1",
    "SLURM_PROCID": "0",
    "SLURM_LOCALID": "0",
}


def test_a_missing_scontrol_is_reported_in_one_line(shards, model, tmp_path):
    line = error_of(train_arguments(shards, model, tmp_path / "run"), **SLURM, PATH=tmp_path)
    assert re.fullmatch(r"cloob train: error: scontrol .*: No such file.*; set MASTER_ADDR.*", line)


@pytest.mark.parametrize("name", ["SLURM_PROCID", "SLURM_LOCALID", "SLURM_STEP_NODELIST"])
def test_a_missing_variable_of_srun_is_reported_in_one_line(shards, model, tmp_path, name):
    variables = {key: value for key, value in SLURM.items() if key != name} | {"PATH": tmp_path}
    if name != "SLURM_STEP_NODELIST":
        variables["MASTER_ADDR"] = "127.0.0.1"
    line = error_of(train_arguments(shards, model, tmp_path / "run"), **variables)
    assert f"SLURM_STEP_NUM_TASKS is above 1, but {name} is not set; " in line


@pytest.mark.parametrize(
    "name", ["RANK", "MASTER_ADDR", "MASTER_PORT", "TORCHELASTIC_RUN_ID", "TORCHELASTIC_USE_AGENT_STORE"]
)
def test_the_train_rule_does_not_inherit_rendezvous_variables(name):
    rule = (ROOT / "workflow" / "rules" / "train.smk").read_text()
    launchers = re.search('LAUNCHERS = """(.*?)"""', rule, re.DOTALL)[1].replace("{{", "{").replace("}}", "}")
    call = f"torchrun_processes 1 1 1 -c 'import os; print(os.getenv(\"{name}\"))'"
    script = f"set -euo pipefail; {launchers} {call}"
    done = subprocess.run(
        ["bash", "-c", script],
        env=os.environ | {name: "29500", "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.strip() == "None"
