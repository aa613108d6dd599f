import subprocess
import sys
from dataclasses import replace

import pytest

from cloob.common.errors import InputError
from cloob.slurm.check import lacks_on_a_node, limits_misfits, misfits, preemption_note, status_misfit
from cloob.slurm.partitions import Nodes, gpus_of, minutes_of, partitions
from cloob.slurm.profile import read_profile
from tests.helpers.on_slurm import ROOT

LIGHT = Nodes("light", True, 1440, 10, 32, 128_000, {})
GPUS = Nodes("gpus", False, 2880, 4, 64, 512_000, {"a100": 4})
PROFILE = ROOT / "slurm" / "config.yaml"


def request(rule, **changes):
    asked = {one.rule: one for one in read_profile(PROFILE).requests}[rule]
    return replace(asked, **changes)


@pytest.mark.parametrize(
    ("limit", "minutes"),
    [("infinite", float("inf")), ("2-12:00:00", 3600), ("01:30:00", 90), ("30:00", 30), ("45", 0.75)],
)
def test_time_limits_are_read_as_slurm_writes_them(limit, minutes):
    assert minutes_of(limit) == minutes


def test_gpus_are_read_as_slurm_writes_them():
    assert gpus_of("gpu:a100:4(S:0-1),gpu:2") == {"a100": 4, "": 2}
    assert gpus_of("(null)") == {}


def test_the_profile_asks_for_what_training_needs():
    asked = request("train")
    assert (asked.nodes, asked.gpus, asked.cpus, asked.memory_mb) == (1, 4, 36, 256_000)


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        (request("train", minutes=60), "slurm_partition: no node of light has a GPU; name gpus"),
        (request("train", partition="gpu"), "slurm_partition: there is no gpu; name one of gpus, light"),
        (request("train", partition="gpus", gpus=8, tasks=8), "8 GPUs of a node, those of gpus have 4"),
        (request("train", partition="gpus", model="h100"), "no node of gpus has a GPU h100"),
        (request("train", partition="gpus", nodes=5, tasks=20), "nodes: 5, but gpus has 4"),
        (request("train", partition="gpus", cpus=100), "100 CPUs of a node, but those of gpus have 64"),
        (request("fetch", memory_mb=200_000, minutes=60), "mem_mb: 200000, but nodes of light have 128000"),
        (request("train", partition="gpus", two_models=True), "write gres: gpu:MODEL:NUMBER"),
        (request("train", partition="gpus", gpus=2), "tasks: 4 processes, but nodes times gres are 2 GPUs"),
        (request("fetch"), "runtime: 2880 minutes, but partition light allows 1440"),
    ],
)
def test_what_does_not_fit_is_said_with_the_line_to_change(asked, said):
    [line] = misfits(asked, [LIGHT, GPUS])
    assert said in line


def test_a_group_asks_for_the_minutes_of_all_that_it_may_hold():
    asked = request("image-text", partition="gpus")
    assert (asked.grouped, asked.minutes) == (9, 9 * 120)
    [line] = misfits(asked, [LIGHT, replace(GPUS, minutes=240)])
    assert "runtime: 1080 minutes, but partition gpus allows 240; of up to 9 evaluations in one job" in line


def test_a_profile_that_its_site_has_changed_is_read_so(tmp_path):
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
    asked = {one.rule: one for one in read_profile(path).requests}
    assert {rule: one.partition for rule, one in asked.items() if one.partition} == {
        **dict.fromkeys(
            ("zeroshot", "linear_probe", "image-text", "released_zeroshot", "released_linear_probe"), "gpus"
        ),
        **dict.fromkeys(("fetch", "testset", "released_checkpoint"), "net"),
        "train": "big",
    }
    assert asked["zeroshot"].model == "a100"
    assert "nodes_with_gpus" not in asked


def test_a_word_for_a_runtime_is_read_as_snakemake_reads_it(tmp_path):
    path = tmp_path / "config.yaml"
    path.write_text(PROFILE.read_text().replace("runtime: 2880", "runtime: 2d"))
    assert {one.rule: one for one in read_profile(path).requests}["fetch"].minutes == 2880


def test_nodes_that_are_drained_down_or_silent_do_not_count(monkeypatch):
    states = ("idle", "mixed~", "drained", "draining", "down", "idle*", "allocated")
    lines = [f"main*|2-00:00:00|{number}|8|1000|(null)|OFF|{state}" for number, state in enumerate(states, 1)]
    monkeypatch.setattr("cloob.slurm.partitions.ask", lambda *command: "\n".join(lines))
    assert [nodes.number for nodes in partitions()] == [1, 2, 7]


def test_a_partition_that_lets_nobody_look_is_named_and_the_check_goes_on(monkeypatch):
    def busy(*arguments):
        raise InputError("srun: first\nsrun: error: Unable to allocate resources")

    monkeypatch.setattr("cloob.slurm.check._seen_from_a_node", busy)
    [line] = lacks_on_a_node(request("fetch", partition="light"), "images.example")
    assert line == (
        "slurm_partition: no look from light was possible: srun: error: Unable to allocate resources"
    )


def test_what_fits_needs_no_word():
    assert list(misfits(request("train", partition="gpus"), [LIGHT, GPUS])) == []
    assert list(misfits(request("cc3m_urls"), [LIGHT, GPUS])) == []


def test_an_account_that_is_not_the_users_or_allows_fewer_jobs_is_named():
    profile = read_profile(PROFILE)
    assert list(limits_misfits(profile, "")) == []  # no accounts are kept
    assert list(limits_misfits(profile, "physics|")) == []
    assert list(limits_misfits(profile, "physics|50\n")) == [
        "jobs: 64 in the queue at once, but your account allows 50"
    ]
    assert list(limits_misfits(profile, "physics|\nlinguistics|\n")) == [
        "slurm_account: none is named; yours are linguistics, physics"
    ]
    of_biology = replace(profile, requests=[request("train", account="biology")])
    assert list(limits_misfits(of_biology, "physics|\n")) == [
        "slurm_account: biology is none of yours (physics)"
    ]


def test_snakemake_has_to_learn_how_a_job_ended():
    profile = read_profile(PROFILE)
    assert profile.status_command == "squeue"
    kept, forgotten = {"MinJobAge": "300 sec"}, {"MinJobAge": "10 sec"}
    accounting = {"AccountingStorageType": "accounting_storage/slurmdbd"}
    assert status_misfit(profile, kept) is None
    assert "set sacct" in status_misfit(profile, forgotten | accounting)
    assert "ask for a MinJobAge of 180" in status_misfit(profile, forgotten)
    by_sacct = replace(profile, status_command="sacct")
    assert status_misfit(by_sacct, accounting) is None
    assert "set squeue" in status_misfit(by_sacct, kept)


def test_a_partition_that_cancels_preempted_jobs_is_noted():
    assert preemption_note(request("train"), [LIGHT]) is None
    assert preemption_note(request("train"), [replace(LIGHT, preemption="REQUEUE")]) is None
    note = preemption_note(request("train"), [replace(LIGHT, preemption="CANCEL")])
    assert note.startswith("a job that light preempts is canceled")


def test_a_file_that_is_no_profile_is_refused_in_one_line(tmp_path):
    path = tmp_path / "config.yaml"
    path.write_text("jobs: 3")
    with pytest.raises(InputError, match="not a profile"):
        read_profile(path)


def test_on_a_cluster_that_the_profile_fits_it_says_so(slurm):
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
        f"change  {rule}: slurm_partition: its nodes do not reach nowhere.invalid; name a partition with "
        "internet"
        for rule in ("fetch", "testset", "released_checkpoint")
    ], done.stderr
    assert any(line.startswith("ok      train: 1 × (36 CPUs, 4 GPUs, 256,000 MB)") for line in lines)
    assert done.returncode == 1
