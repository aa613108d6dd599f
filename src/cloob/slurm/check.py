"""The profile's requests against the cluster's partitions, in plain words."""

import difflib
import getpass
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import yaml

from cloob.common.errors import InputError, io_errors_at
from cloob.slurm.partitions import Nodes, ask
from cloob.slurm.profile import Profile, Request

# Seconds that a look from a compute node may wait in the queue.
_PATIENCE = 120
# Seconds between two questions of snakemake's Slurm plugin, at most.
_LONGEST_ROUND = 180
_RULE = re.compile(r"^ *(?:use rule \w+ as|rule|checkpoint) (\w+)\b", re.MULTILINE)
_FROM_THE_INTERNET = ("fetch", "testset", "released_checkpoint")


def misfits(request: Request, cluster: list[Nodes]) -> Iterator[str]:
    """The lines to change for one rule; nothing where its jobs can run."""
    if request.partition is None:
        there = [nodes for nodes in cluster if nodes.default]
        if not there:
            yield "slurm_partition: the cluster has no default partition; name one of " + _names(cluster)
            return
    else:
        there = [nodes for nodes in cluster if nodes.partition == request.partition]
        if not there:
            yield f"slurm_partition: there is no {request.partition}; name one of {_names(cluster)}"
            return
    name = there[0].partition
    for key in request.not_passed_on:
        yield f"{key}: snakemake's Slurm plugin does not pass it on; write gpu, or gres: gpu:NUMBER"
    if request.minutes > (most := max(nodes.minutes for nodes in there)):
        remedy = "set that (fetch, pack and train go on where they were)"
        if request.grouped > 1:
            remedy = f"of up to {request.grouped} evaluations in one job; set fewer in group-components"
        yield (
            f"runtime: {request.minutes:.0f} minutes, but partition {name} allows {most:.0f}; {remedy}, or "
            "name another slurm_partition"
        )
    if request.two_models:
        yield "gpu_model: Slurm refuses it beside gres; write gres: gpu:MODEL:NUMBER"
    if request.gpus and request.tasks > 1 and request.tasks != request.nodes * request.gpus:
        have = request.nodes * request.gpus
        yield f"tasks: {request.tasks} processes, but nodes times gres are {have} GPUs; one process for each"
    if request.gpus:
        with_gpus = [nodes for nodes in there if _gpus(nodes, request.model) > 0]
        if not with_gpus:
            kind = f"GPU {request.model}" if request.model else "GPU"
            others = sorted({nodes.partition for nodes in cluster if _gpus(nodes, request.model) > 0})
            remedy = f"name {' or '.join(others)}" if others else "no partition of this cluster has one"
            yield f"slurm_partition: no node of {name} has a {kind}; {remedy}"
            return
        there = with_gpus
        if request.gpus > (most := max(_gpus(nodes, request.model) for nodes in there)):
            yield f"gres or gpu: {request.gpus} GPUs of a node, those of {name} have {most}; set nodes too"
    if request.nodes > (most := sum(nodes.number for nodes in there)):
        yield f"nodes: {request.nodes}, but {name} has {most} that fit"
    if request.cpus > (most := max(nodes.cpus for nodes in there)):
        yield f"cpus_per_task and set-threads: {request.cpus} CPUs of a node, but those of {name} have {most}"
    if request.memory_mb > (most := max(nodes.memory_mb for nodes in there)):
        unit = "" if request.memory_key == "mem_mb" else " MB"
        yield f"{request.memory_key}: {request.memory_mb}{unit}, but nodes of {name} have {most}"


def misspelt(profile: Profile, workflow: Path) -> Iterator[str]:
    """The profile's names of rules that no rule file has; snakemake passes over them in silence."""
    files = [workflow / "Snakefile", *sorted(workflow.glob("rules/*.smk"))]
    texts = [_text(path) for path in files if path.is_file()]
    rules = {rule for text in texts for rule in _RULE.findall(text)}
    for name, key in profile.rules.items() if rules else ():
        if name not in rules:
            near = difflib.get_close_matches(name, rules, n=1)
            yield f"{key}.{name}: there is no such rule" + (f"; did you mean {near[0]}?" if near else "")


def _text(path: Path) -> str:
    with io_errors_at(path):
        return path.read_text(encoding="utf-8")


def processes_misfit(profile: Profile, config: Path) -> str | None:
    """Whether `train` asks for one task and GPU for each of the config's `train.processes`."""
    asked = [request for request in profile.requests if request.rule == "train"]
    if not asked or not config.is_file():
        return None
    try:
        processes = yaml.safe_load(_text(config))["train"]["processes"]
    except (yaml.YAMLError, UnicodeDecodeError, KeyError, TypeError):
        raise InputError(f"{config}: no train.processes can be read; name another file by --config") from None
    [train] = asked
    have, key = (train.tasks, "tasks") if train.tasks > 1 else (train.nodes * train.gpus, "gres or gpu")
    if have == processes:
        return None
    return (
        f"train: {key}: {have}, but train.processes in {config} is {processes}; set both to the GPUs of a run"
    )


def _gpus(nodes: Nodes, model: str) -> int:
    return nodes.gpus.get(model, 0) if model else sum(nodes.gpus.values())


def _names(cluster: list[Nodes]) -> str:
    return ", ".join(sorted({nodes.partition for nodes in cluster})) or "none: sinfo shows no partition"


def preemption_note(request: Request, cluster: list[Nodes]) -> str | None:
    """What to know of a partition whose jobs are canceled in favor of others'."""
    there = [
        nodes
        for nodes in cluster
        if (nodes.partition == request.partition if request.partition else nodes.default)
    ]
    if not any("CANCEL" in nodes.preemption for nodes in there):
        return None
    return (
        f"a job that {there[0].partition} preempts is canceled, and snakemake waits for it for ever; name a "
        "slurm_partition that requeues, or stop and start snakemake then"
    )


def status_misfit(profile: Profile, settings: dict[str, str]) -> str | None:
    """Whether snakemake can learn how a job ended; it asks every 40 to 180 seconds."""
    accounting = "slurmdbd" in settings.get("AccountingStorageType", "")
    if profile.status_command == "sacct":
        return None if accounting else "slurm-status-command: no accounting database is here; set squeue"
    age = int((re.findall(r"\d+", settings.get("MinJobAge", "")) or ["300"])[0])
    if age >= _LONGEST_ROUND:
        return None
    forgets = f"slurm-status-command: squeue forgets a job {age} s after its end, before snakemake asks again"
    return f"{forgets}; set sacct" if accounting else f"{forgets}; ask for a MinJobAge of {_LONGEST_ROUND}"


def limits_misfits(profile: Profile, associations: str) -> Iterator[str]:
    """What the user's accounts (`account|MaxSubmitJobs` lines of sacctmgr) do not allow."""
    rows = [[*line.split("|"), ""][:2] for line in associations.splitlines() if line]
    accounts = sorted({row[0] for row in rows})
    if not accounts:
        return
    for asked in sorted({request.account or "" for request in profile.requests}):
        if not asked and len(accounts) > 1:
            yield f"slurm_account: none is named; yours are {', '.join(accounts)}"
        if asked and asked not in accounts:
            yield f"slurm_account: {asked} is none of yours ({', '.join(accounts)})"
        limits = [int(most) for account, most in rows if most.isdecimal() and account == (asked or account)]
        if limits and profile.jobs > min(limits):
            yield f"jobs: {profile.jobs} in the queue at once, but your account allows {min(limits)}"


def associations() -> str:
    """The user's accounts and how many jobs each may have in the queue; empty where none are kept."""
    command = ["sacctmgr", "--noheader", "--parsable2", "show", "assoc", f"user={getpass.getuser()}"]
    try:
        asked = subprocess.run(
            [*command, "format=account,maxsubmitjobs"],
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )
    except (FileNotFoundError, subprocess.TimeoutExpired):
        return ""
    return "" if asked.returncode else asked.stdout


_LOOK = """
import pathlib, socket, sys
print("shared" if pathlib.Path(sys.argv[1]).exists() else "not shared")
try:
    socket.create_connection((sys.argv[2], 443), 10).close()
    print("internet")
except OSError as error:
    print("no internet:", error)
"""


@cache
def _seen_from_a_node(partition: str | None, account: str | None, host: str) -> str:
    with tempfile.NamedTemporaryFile(dir=Path.cwd(), prefix=".seen_from_a_node_") as mark:
        command = ["srun", "--nodes=1", "--ntasks=1", "--time=5", f"--immediate={_PATIENCE}", "--quiet"]
        command += [f"--partition={partition}"] if partition else []
        command += [f"--account={account}"] if account else []
        return ask(*command, sys.executable, "-c", _LOOK, mark.name, host)


def lacks_on_a_node(request: Request, host: str) -> Iterator[str]:
    """What a compute node of the rule's partition lacks: this folder, or the way to `host`. Runs a job."""
    try:
        seen = _seen_from_a_node(request.partition, request.account, host)
    except InputError as error:
        where = request.partition or "the default partition"
        yield f"slurm_partition: no look from {where} was possible: {str(error).splitlines()[-1]}"
        return
    if "not shared" in seen:
        yield f"{Path.cwd()} is not seen from compute nodes; move the checkout to a shared file system"
    if "no internet" in seen and request.rule in _FROM_THE_INTERNET:
        yield f"slurm_partition: its nodes do not reach {host}; name a partition with internet"
