"""A run trains with its own processes only."""

import os
import re
import signal
import socket
import subprocess
import sys
import time
from datetime import timedelta
from pathlib import Path

import pytest
from endings import ended, last_line, start
from test_loop import command

from cloob.errors import InputError
from cloob.train import distributed, rendezvous

pytestmark = pytest.mark.timeout(300)
PATIENCE_OF_STARTS = rendezvous._PATIENCE


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def ranked(arguments, rank, port, processes=2, **variables):
    """One of the processes of a run, by the variables that torchrun sets."""
    ours = {"RANK": rank, "WORLD_SIZE": processes, "LOCAL_RANK": rank, "LOCAL_WORLD_SIZE": processes}
    ours |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port} | variables
    return start(arguments, env=os.environ | {name: str(value) for name, value in ours.items()})


@pytest.mark.parametrize("change", [{"seed": 4}, {"learning_rate": 2e-3}, {"folder": "b"}])
def test_processes_of_two_runs_that_meet_at_one_port_all_end(shards, model, tmp_path, change):
    port, folder = free_port(), change.pop("folder", "a")
    other = [*command(shards, model, tmp_path / folder, **change)]
    if "seed" in change:
        other = [*command(shards, model, tmp_path / folder), f"--seed={change['seed']}"]
    host = ranked(command(shards, model, tmp_path / "a"), 0, port)
    stranger = ranked(other, 1, port)
    for process in (host, stranger):
        _, errors = ended(process)
        assert process.returncode == 2
        assert len(errors.splitlines()) == 1
        assert "processes of two runs met here" in errors
    assert not list(tmp_path.glob("*/checkpoints/metrics.jsonl"))


@pytest.mark.parametrize(
    "name", ["SLURM_STEP_ID", "SLURM_JOB_ID", "TORCHELASTIC_RUN_ID", "SLURM_STEP_NODELIST"]
)
def test_two_starts_of_one_run_do_not_mix(shards, model, tmp_path, name):
    port, arguments = free_port(), command(shards, model, tmp_path / "run")
    for process in [ranked(arguments, rank, port, **{name: f"1{rank}"}) for rank in range(2)]:
        _, errors = ended(process)
        assert process.returncode == 2
        assert "processes of two runs met here" in last_line(errors)


def test_a_rank_that_comes_twice_is_refused_and_the_run_goes_on(shards, model, tmp_path):
    port, arguments = free_port(), command(shards, model, tmp_path / "run", epochs=4000)
    run = [ranked(arguments, rank, port) for rank in range(2)]
    log = tmp_path / "run" / "checkpoints" / "metrics.jsonl"
    while not (log.exists() and '"step"' in log.read_text()):
        assert run[0].poll() is None
        time.sleep(0.05)
    late = ranked(arguments, 1, port)
    _, errors = ended(late)
    assert late.returncode == 2
    assert "process 1 is there already" in errors
    for process in run:
        assert process.poll() is None
        process.send_signal(signal.SIGTERM)
    for process in run:
        ended(process)
    assert [process.returncode for process in run] == [75, 75]


def test_a_taken_port_is_one_line(shards, model, tmp_path):
    with socket.socket() as taken:
        taken.bind(("", 0))
        taken.listen()
        process = ranked(command(shards, model, tmp_path / "run"), 0, taken.getsockname()[1])
        _, errors = ended(process)
    assert process.returncode == 2
    assert re.fullmatch(
        r"cloob train run: error: MASTER_PORT: .* \(Address already in use\); set another\n", errors
    )


@pytest.mark.parametrize(
    ("variable", "value", "said"),
    [
        ("MASTER_ADDR", "no-such-host.invalid", "MASTER_ADDR: no-such-host.invalid cannot be resolved"),
        ("MASTER_PORT", "many", "MASTER_PORT 'many'"),
        ("MASTER_PORT", "99999", "MASTER_PORT: 127.0.0.1:99999 cannot be used"),
        ("MASTER_ADDR", "", "MASTER_ADDR is ''"),
    ],
)
def test_an_address_that_is_none_is_one_line_at_once(shards, model, tmp_path, variable, value, said):
    process = ranked(command(shards, model, tmp_path / "run"), 0, 29600, **{variable: value})
    _, errors = ended(process)
    assert process.returncode == 2
    assert said in errors
    assert len(errors.splitlines()) == 1


def test_a_process_that_never_comes_is_not_waited_for_long(monkeypatch):
    monkeypatch.setattr(rendezvous, "_PATIENCE", timedelta(seconds=1))
    for name, value in {"RANK": "0", "WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1"}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("MASTER_PORT", str(free_port()))
    with pytest.raises(InputError, match=r"process 0 of 2 cannot join the others .*1/2 clients"):
        rendezvous.meet(0, 2, {})
    assert timedelta(minutes=1) < PATIENCE_OF_STARTS < timedelta(minutes=30)


def test_each_step_of_a_job_has_a_port_of_its_own():
    steps = [
        {"SLURM_JOB_ID": str(job), "SLURM_STEP_ID": str(step)} for job in (7, 8, 20007) for step in range(4)
    ]
    ports = [distributed._port(step) for step in steps]
    assert len(set(ports)) == len(ports)
    assert all(1024 < port < 32768 for port in ports)
    assert distributed._port({"SLURM_JOB_ID": "7"}) == ports[0]  # no step is named


def test_without_scontrol_it_is_one_line(shards, model, tmp_path):
    slurm = {"SLURM_JOB_ID": "5", "SLURM_STEP_NUM_TASKS": "2", "SLURM_STEP_TASKS_PER_NODE": "2"}
    slurm |= {"SLURM_STEP_NODELIST": "n1", "SLURM_PROCID": "0", "SLURM_LOCALID": "0", "PATH": str(tmp_path)}
    process = start(command(shards, model, tmp_path / "run"), env=os.environ | slurm)
    _, errors = ended(process)
    assert process.returncode == 2
    assert re.fullmatch(r"cloob train run: error: scontrol .*: No such file.*; set MASTER_ADDR.*\n", errors)


@pytest.mark.parametrize("name", ["RANK", "MASTER_ADDR", "MASTER_PORT", "TORCHELASTIC_RUN_ID"])
def test_a_rule_does_not_inherit_where_its_processes_meet(name):
    rule = (Path(__file__).parents[2] / "workflow" / "rules" / "train.smk").read_text()
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
