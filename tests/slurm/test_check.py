"""`cloob slurm check`: every request that does not fit the cluster is reported with the line to change."""

import subprocess
import sys
from dataclasses import replace

import pytest

from cloob.common.errors import InputError
from cloob.slurm.check import (
    DOWNLOADING_RULES,
    check_account_limits,
    check_request,
    check_status_command,
    preemption_note,
    probe_node,
)
from cloob.slurm.partitions import NodeGroup, parse_gpus, parse_time_limit, partitions
from cloob.slurm.profile import read_profile
from tests.helpers.on_slurm import ROOT

CPUS = NodeGroup("cpus", True, 1440, 10, 32, 128_000, {})
GPUS = NodeGroup("gpus", False, 2880, 4, 64, 512_000, {"a100": 4})
PROFILE = ROOT / "slurm" / "config.yaml"


def request(rule, **changes):
    """The request of a rule in the default profile, with some fields changed."""
    profile = read_profile(PROFILE, {"train": 36, "trial": 36})  # four processes with eight workers each
    requests = {request.rule: request for request in profile.requests}
    return replace(requests[rule], **changes)


@pytest.mark.parametrize(
    ("limit", "minutes"),
    [("infinite", float("inf")), ("2-12:00:00", 3600), ("01:30:00", 90), ("30:00", 30), ("45", 0.75)],
)
def test_time_limits_of_slurm_are_parsed(limit, minutes):
    assert parse_time_limit(limit) == minutes


def test_gpus_of_slurm_are_parsed():
    assert parse_gpus("gpu:a100:4(S:0-1),gpu:2") == {"a100": 4, "": 2}
    assert parse_gpus("(null)") == {}


def test_the_default_profile_requests_one_node_with_four_gpus_for_training():
    train = request("train")
    assert (train.nodes, train.gpus, train.cpus, train.memory_mb) == (1, 4, 36, 256_000)


@pytest.mark.parametrize(
    ("request_", "message"),
    [
        (request("train", minutes=60), "slurm_partition: no node of cpus has a GPU; set gpus"),
        (request("train", partition="gpu"), "slurm_partition: gpu does not exist; set one of cpus, gpus"),
        (request("train", partition="gpus", gpus=8, tasks=8), "8 GPUs per node, but nodes of gpus have 4"),
        (request("train", partition="gpus", model="h100"), "no node of gpus has a GPU h100"),
        (request("train", partition="gpus", nodes=5, tasks=20), "nodes: 5, but gpus has 4 suitable nodes"),
        (request("train", partition="gpus", cpus=100), "100 CPUs per node, but nodes of gpus have 64"),
        (request("fetch", memory_mb=200_000, minutes=60), "mem_mb: 200000, but nodes of cpus have 128000"),
        (request("train", partition="gpus", has_two_models=True), "write gres: gpu:MODEL:NUMBER"),
        (request("train", partition="gpus", gpus=2), "tasks: 4 processes, but nodes × gres is 2 GPUs"),
        (request("fetch"), "runtime: 2880 minutes, but partition cpus allows 1440"),
    ],
)
def test_a_request_that_does_not_fit_names_the_line_to_change(request_, message):
    [line] = check_request(request_, [CPUS, GPUS])
    assert message in line


def test_the_runtime_of_a_group_is_the_sum_over_its_jobs():
    grouped = request("image_text", partition="gpus")
    assert (grouped.group_size, grouped.minutes) == (9, 9 * 120)
    [line] = check_request(grouped, [CPUS, replace(GPUS, minutes=240)])
    assert "runtime: 1080 minutes, but partition gpus allows 240; for up to 9 evaluations per job" in line


def test_the_site_block_sets_partitions_and_limits_of_all_its_rules(tmp_path):
    path = tmp_path / "config.yaml"
    text = PROFILE.read_text()
    for block, line in (
        ("nodes_with_gpus", "{slurm_partition: gpus, gpu_model: a100}"),
        ("nodes_for_training", "{slurm_partition: big}"),
        ("nodes_with_internet", "{slurm_partition: net, runtime: 2d}"),
    ):
        assert f"{block}: &{block} {{}}" in text
        text = text.replace(f"{block}: &{block} {{}}", f"{block}: &{block} {line}")
    path.write_text(text)
    requests = {request.rule: request for request in read_profile(path).requests}
    assert {rule: request.partition for rule, request in requests.items() if request.partition} == {
        **{
            f"{prefix}{protocol}": "gpus"
            for prefix in ("", "released_")
            for protocol in ("zeroshot", "linear_probe", "image_text")
        },
        **dict.fromkeys(DOWNLOADING_RULES, "net"),
        **dict.fromkeys(("train", "trial"), "big"),
    }
    assert requests["zeroshot"].model == "a100"
    assert "nodes_with_gpus" not in requests


def test_a_runtime_with_a_unit_is_converted_to_minutes(tmp_path):
    path = tmp_path / "config.yaml"
    path.write_text(PROFILE.read_text().replace("runtime: 2880", "runtime: 2d"))
    [fetch] = [request for request in read_profile(path).requests if request.rule == "fetch"]
    assert fetch.minutes == 2880


def test_drained_down_and_unresponsive_nodes_are_not_usable(monkeypatch):
    states = ("idle", "mixed~", "drained", "draining", "down", "idle*", "allocated")
    lines = [f"main*|2-00:00:00|{number}|8|1000|(null)|OFF|{state}" for number, state in enumerate(states, 1)]
    monkeypatch.setattr("cloob.slurm.partitions.run_command", lambda *command: "\n".join(lines))
    assert [group.count for group in partitions()] == [1, 2, 7]


def test_a_failed_probe_is_reported_as_a_line(monkeypatch):
    def fail(*arguments):
        raise InputError("srun: first\nsrun: error: Unable to allocate resources")

    monkeypatch.setattr("cloob.slurm.check._run_probe", fail)
    [line] = probe_node(request("fetch", partition="cpus"), "images.example")
    assert line == (
        "slurm_partition: a node of cpus could not be probed: srun: error: Unable to allocate resources"
    )


def test_requests_that_fit_need_no_change():
    assert list(check_request(request("train", partition="gpus"), [CPUS, GPUS])) == []
    assert list(check_request(request("pack"), [CPUS, GPUS])) == []


def test_unknown_accounts_and_lower_job_limits_are_reported():
    profile = read_profile(PROFILE)
    assert list(check_account_limits(profile, "")) == []  # no accounting database
    assert list(check_account_limits(profile, "physics|")) == []
    assert list(check_account_limits(profile, "physics|50\n")) == [
        "jobs: 64 in the queue at once, but your account allows 50"
    ]
    assert list(check_account_limits(profile, "physics|\nlinguistics|\n")) == [
        "slurm_account: not set; your accounts are linguistics, physics"
    ]
    other_account = replace(profile, requests=[request("train", account="biology")])
    assert list(check_account_limits(other_account, "physics|\n")) == [
        "slurm_account: biology is not one of your accounts (physics)"
    ]


def test_the_status_command_must_be_able_to_report_the_end_of_jobs():
    profile = read_profile(PROFILE)
    assert profile.status_command == "squeue"
    long, short = {"MinJobAge": "300 sec"}, {"MinJobAge": "10 sec"}
    accounting = {"AccountingStorageType": "accounting_storage/slurmdbd"}
    assert check_status_command(profile, long) is None
    assert "set sacct" in check_status_command(profile, short | accounting)
    assert "MinJobAge=180" in check_status_command(profile, short)
    with_sacct = replace(profile, status_command="sacct")
    assert check_status_command(with_sacct, accounting) is None
    assert "set squeue" in check_status_command(with_sacct, long)


def test_partitions_that_cancel_preempted_jobs_cause_a_note():
    assert preemption_note(request("train"), [CPUS]) is None
    assert preemption_note(request("train"), [replace(CPUS, preemption="REQUEUE")]) is None
    note = preemption_note(request("train"), [replace(CPUS, preemption="CANCEL")])
    assert note.startswith("preempted jobs of cpus are canceled")


def test_a_file_without_set_resources_is_not_a_profile(tmp_path):
    path = tmp_path / "config.yaml"
    path.write_text("jobs: 3")
    with pytest.raises(InputError, match="not a profile"):
        read_profile(path)


def test_on_a_fitting_cluster_only_the_missing_internet_access_is_reported(slurm):
    done = subprocess.run(
        [sys.executable, "-m", "cloob", "slurm", "check", "--probe-nodes", "nowhere.invalid"],
        cwd=ROOT,
        env=slurm.environment,
        capture_output=True,
        text=True,
        check=False,
    )
    lines = done.stdout.splitlines()
    assert [line for line in lines if line.startswith("change")] == [
        f"change  {rule}: slurm_partition: its nodes cannot connect to nowhere.invalid; "
        "set a partition with internet access"
        for rule in DOWNLOADING_RULES
    ], done.stderr
    assert any(line.startswith("ok      train: 1 × (36 CPUs, 4 GPUs, 256,000 MB)") for line in lines)
    assert done.returncode == 1
