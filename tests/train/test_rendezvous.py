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

from cloob.common.errors import InputError
from cloob.train import distributed, rendezvous
from tests.helpers.process_endings import ended, forked, refused, start
from tests.helpers.repository import ROOT
from tests.train.test_loop import command

pytestmark = pytest.mark.timeout(300)
PATIENCE_OF_STARTS = rendezvous._PATIENCE


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def variables_of(rank, port, processes=2, **variables):
    """What torchrun sets for one of the processes of a run."""
    ours = {"RANK": rank, "WORLD_SIZE": processes, "LOCAL_RANK": rank, "LOCAL_WORLD_SIZE": processes}
    return ours | {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port} | variables


def ranked(arguments, rank, port):
    """One of the processes of a run."""
    ours = {name: str(value) for name, value in variables_of(rank, port).items()}
    return start(arguments, env=os.environ | ours)


def refusal(arguments, tmp_path, **variables):
    """The line with which one process of a run ends, started with these variables."""
    process = forked(arguments, tmp_path / "errors", **variables)
    return refused(process, tmp_path / "errors")


@pytest.mark.parametrize(
    "change", ["--seed=4", "--learning-rate=2e-3", "--folder=b", "--shards=c.json", "--validation=d.json"]
)
def test_processes_of_two_runs_that_meet_at_one_port_all_end(shards, model, tmp_path, change):
    port, arguments = free_port(), command(shards, model, tmp_path / "a")
    other = [*arguments, change]
    run = [
        (forked(each, errors, **variables_of(rank, port)), errors)
        for rank, each in enumerate((arguments, other))
        for errors in [tmp_path / f"errors{rank}"]
    ]
    for process, errors in run:
        line = refused(process, errors)
        assert "processes of two runs met here" in line
        assert change.split("=")[0].strip("-").replace("-", "_") in line
    assert not list(tmp_path.glob("*/checkpoints/metrics.jsonl"))


@pytest.mark.parametrize(
    "name", ["SLURM_STEP_ID", "SLURM_JOB_ID", "TORCHELASTIC_RUN_ID", "SLURM_STEP_NODELIST"]
)
def test_two_starts_of_one_run_do_not_mix(shards, model, tmp_path, name):
    # torchrun's own processes die with their parent, which is this one here.
    port, arguments = free_port(), command(shards, model, tmp_path / "run")
    run = [
        (forked(arguments, errors, **variables_of(rank, port, **{name: f"1{rank}"})), errors)
        for rank in range(2)
        for errors in [tmp_path / f"errors{rank}"]
    ]
    for process, errors in run:
        assert "processes of two runs met here" in refused(process, errors)


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
        variables = variables_of(0, taken.getsockname()[1])
        line = refusal(command(shards, model, tmp_path / "run"), tmp_path, **variables)
    assert re.fullmatch(r"cloob train: error: MASTER_PORT: .* \(Address already in use\); set another", line)


@pytest.mark.parametrize(
    ("variable", "value", "said"),
    [
        ("MASTER_ADDR", "no-such-host.invalid", "MASTER_ADDR: no-such-host.invalid cannot be resolved"),
        ("MASTER_PORT", "many", "MASTER_PORT 'many'"),
        ("MASTER_PORT", "0", "MASTER_PORT '0'"),
        ("MASTER_PORT", "99999", "MASTER_PORT: 127.0.0.1:99999 cannot be used"),
        ("MASTER_ADDR", "", "MASTER_ADDR is ''"),
        ("RANK", "x", "RANK is 'x', not a number from 0 on"),
        ("RANK", "2", "RANK is 2, but WORLD_SIZE 2"),
        ("WORLD_SIZE", "0", "WORLD_SIZE is '0', not a number from 1 on"),
        ("LOCAL_WORLD_SIZE", "0", "LOCAL_WORLD_SIZE is '0', not a number from 1 on"),
    ],
)
def test_a_variable_that_is_wrong_is_one_line_at_once(shards, model, tmp_path, variable, value, said):
    variables = variables_of(0, 29600, **{variable: value})
    assert said in refusal(command(shards, model, tmp_path / "run"), tmp_path, **variables)


@pytest.fixture
def impatient(monkeypatch):
    """A start that waits for a second."""
    monkeypatch.setattr(rendezvous, "_PATIENCE", timedelta(seconds=1))


def test_a_port_where_another_program_says_nothing_is_left_in_time(
    impatient, monkeypatch, shards, model, tmp_path
):
    monkeypatch.setattr(rendezvous, "_GRACE", timedelta(seconds=1))
    with socket.socket() as mute:
        mute.bind(("127.0.0.1", 0))
        mute.listen()
        variables = variables_of(1, mute.getsockname()[1])
        line = refusal(command(shards, model, tmp_path / "run"), tmp_path, **variables)
    assert "process 1 of 2 cannot join the others (nothing there answers)" in line


def test_ctrl_c_ends_a_process_that_waits_for_the_others(shards, model, tmp_path):
    errors = tmp_path / "errors"
    process = forked(command(shards, model, tmp_path / "run"), errors, **variables_of(0, free_port()))
    process.join(1)
    assert process.exitcode is None
    os.kill(process.pid, signal.SIGINT)
    process.join(10)
    assert process.exitcode == 130
    assert errors.read_text() == "cloob train: interrupted\n"


def test_a_process_that_dies_while_all_connect_is_not_waited_for(
    impatient, monkeypatch, shards, model, tmp_path
):
    monkeypatch.setattr(rendezvous, "_GRACE", timedelta(seconds=2))
    port, arguments = free_port(), command(shards, model, tmp_path / "run")
    with monkeypatch.context() as patch:
        patch.setattr(distributed.dist, "init_process_group", lambda *_, **__: os._exit(1))
        dies = forked(arguments, tmp_path / "dies", **variables_of(1, port))
    line = refusal(arguments, tmp_path, **variables_of(0, port))
    assert "process 0 of 2 lost another one at its start, see its error" in line
    dies.join()


def test_a_process_that_never_comes_is_not_waited_for_long(impatient, monkeypatch):
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


SLURM = {
    "SLURM_JOB_ID": "5",
    "SLURM_STEP_NUM_TASKS": "2",
    "SLURM_STEP_TASKS_PER_NODE": "2",
    "SLURM_STEP_NODELIST": "n1",
    "SLURM_PROCID": "0",
    "SLURM_LOCALID": "0",
}


def test_without_scontrol_it_is_one_line(shards, model, tmp_path):
    line = refusal(command(shards, model, tmp_path / "run"), tmp_path, **SLURM, PATH=tmp_path)
    assert re.fullmatch(r"cloob train: error: scontrol .*: No such file.*; set MASTER_ADDR.*", line)


@pytest.mark.parametrize("name", ["SLURM_PROCID", "SLURM_LOCALID", "SLURM_STEP_NODELIST"])
def test_a_variable_of_srun_that_is_not_set_is_one_line(shards, model, tmp_path, name):
    variables = {key: value for key, value in SLURM.items() if key != name} | {"PATH": tmp_path}
    if name != "SLURM_STEP_NODELIST":
        variables["MASTER_ADDR"] = "127.0.0.1"
    line = refusal(command(shards, model, tmp_path / "run"), tmp_path, **variables)
    assert f"SLURM_STEP_NUM_TASKS is set, for several processes, but {name} is not; " in line


@pytest.mark.parametrize(
    "name", ["RANK", "MASTER_ADDR", "MASTER_PORT", "TORCHELASTIC_RUN_ID", "TORCHELASTIC_USE_AGENT_STORE"]
)
def test_a_rule_does_not_inherit_where_its_processes_meet(name):
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
