"""Compare the resource requests of the Slurm profile with the partitions and limits of the cluster."""

import difflib
import getpass
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from cloob.common.errors import InputError, io_errors_at
from cloob.common.yaml_file import read_yaml
from cloob.slurm.partitions import NodeGroup, run_command
from cloob.slurm.profile import Profile, Request

# Seconds that the probe of a compute node may wait in the queue.
_PROBE_TIMEOUT = 120
# The longest interval, in seconds, between two status queries of Snakemake's Slurm plugin.
_MAX_STATUS_INTERVAL = 180
_RULE = re.compile(r"^ *(?:use rule \w+ as|rule|checkpoint) (\w+)\b", re.MULTILINE)
# Rules whose jobs download from the internet.
DOWNLOADING_RULES = (
    "fetch",
    "prepare_testset",
    "download_retrieval_set",
    "released_checkpoint",
    "open_clip_model",
)


def check_request(request: Request, cluster: list[NodeGroup]) -> Iterator[str]:
    """The lines of the profile that must change before jobs of a rule can run; none if they can."""
    candidates = _node_groups(request, cluster)
    if not candidates:
        available = ", ".join(sorted({group.partition for group in cluster})) or (
            "none: sinfo lists no partition"
        )
        if request.partition is None:
            yield f"slurm_partition: the cluster has no default partition; set one of {available}"
        else:
            yield f"slurm_partition: {request.partition} does not exist; set one of {available}"
        return
    name = candidates[0].partition
    for key in request.unsupported:
        yield f"{key}: Snakemake's Slurm plugin does not pass it on; write gpu, or gres: gpu:NUMBER"
    if request.minutes > (limit := max(group.minutes for group in candidates)):
        remedy = "reduce it (fetch, pack and train resume)"
        if request.group_size > 1:
            remedy = f"for up to {request.group_size} evaluations per job; reduce group-components"
        yield (
            f"runtime: {request.minutes:.0f} minutes, but partition {name} allows {limit:.0f}; {remedy}, or "
            "set another slurm_partition"
        )
    if request.has_two_models:
        yield "gpu_model: Slurm rejects it together with gres; write gres: gpu:MODEL:NUMBER"
    if request.gpus and request.tasks > 1 and request.tasks != request.nodes * request.gpus:
        total = request.nodes * request.gpus
        yield f"tasks: {request.tasks} processes, but nodes × gres is {total} GPUs; set one process per GPU"
    if request.gpus:
        with_gpus = [group for group in candidates if _num_gpus(group, request.model) > 0]
        if not with_gpus:
            kind = f"GPU {request.model}" if request.model else "GPU"
            others = sorted({group.partition for group in cluster if _num_gpus(group, request.model) > 0})
            remedy = f"set {' or '.join(others)}" if others else "no partition of this cluster has one"
            yield f"slurm_partition: no node of {name} has a {kind}; {remedy}"
            return
        candidates = with_gpus
        if request.gpus > (limit := max(_num_gpus(group, request.model) for group in candidates)):
            yield (
                f"gres or gpu: {request.gpus} GPUs per node, but nodes of {name} have {limit}; also set nodes"
            )
    if request.nodes > (limit := sum(group.count for group in candidates)):
        yield f"nodes: {request.nodes}, but {name} has {limit} suitable nodes"
    if request.cpus > (limit := max(group.cpus for group in candidates)):
        yield f"cpus_per_task and set-threads: {request.cpus} CPUs per node, but nodes of {name} have {limit}"
    if request.memory_mb > (limit := max(group.memory_mb for group in candidates)):
        unit = "" if request.memory_key == "mem_mb" else " MB"
        yield f"{request.memory_key}: {request.memory_mb}{unit}, but nodes of {name} have {limit}"


def _node_groups(request: Request, cluster: list[NodeGroup]) -> list[NodeGroup]:
    """The nodes of the requested partition, or of the default partition."""
    if request.partition is None:
        return [group for group in cluster if group.is_default]
    return [group for group in cluster if group.partition == request.partition]


def _num_gpus(group: NodeGroup, model: str) -> int:
    return group.gpus.get(model, 0) if model else sum(group.gpus.values())


def unknown_rules(profile: Profile, workflow: Path) -> Iterator[str]:
    """Rule names of the profile that no rule file defines; Snakemake ignores them silently."""
    files = [workflow / "Snakefile", *sorted(workflow.glob("rules/*.smk"))]
    texts = [_read_text(path) for path in files if path.is_file()]
    rules = {rule for text in texts for rule in _RULE.findall(text)}
    for name, key in profile.rules.items() if rules else ():
        if name not in rules:
            similar = difflib.get_close_matches(name, rules, n=1)
            yield f"{key}.{name}: unknown rule" + (f"; did you mean {similar[0]}?" if similar else "")


def _read_text(path: Path) -> str:
    with io_errors_at(path):
        return path.read_text(encoding="utf-8")


@dataclass(frozen=True)
class TrainingSize:
    """The largest run or trial of a configuration."""

    processes: int
    threads: int  # of all its processes


def largest_training(default: Path, *files: Path) -> TrainingSize | None:
    """The largest run or trial of a configuration; None if there is no file. Raises `InputError`.

    The `files` override keys of the default configuration and of each other, as with Snakemake's
    `--configfile`. The size is that of `train.processes` processes, or of the largest `processes` of the rows
    of `runs` and the searches.
    """
    config: dict[str, Any] = {}
    paths = [default, *files] if default.is_file() else files
    for path in paths:
        content = read_yaml(path, "config file") or {}
        if not isinstance(content, dict):
            raise InputError(f"{path}: not a config file (no map of keys); set --config to another file")
        config = _merged(config, content)
    if not paths:
        return None
    try:
        processes = config["train"]["processes"]
        owners = [*(config.get("runs") or ()), *filter(None, (config.get("search") or {}).values())]
        largest = max([owner.get("processes") or processes for owner in owners] or [processes])
        return TrainingSize(largest, largest * (1 + config["train"]["workers"]))
    except (KeyError, TypeError, AttributeError):
        names = ", ".join(map(str, paths))
        raise InputError(
            f"{names}: cannot read train.processes and train.workers; set --config to another file"
        ) from None


def _merged(config: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    """The config with changes: maps are merged key by key, other values are replaced."""
    nested = {
        key: _merged(config[key], value)
        for key, value in changes.items()
        if isinstance(value, dict) and isinstance(config.get(key), dict)
    }
    return config | changes | nested


def check_train_processes(profile: Profile, largest: TrainingSize) -> str | None:
    """Check that `train` requests one task and one GPU per process for the largest run.

    The profile has to be read with the threads of this run.
    """
    requests = [request for request in profile.requests if request.rule == "train"]
    if not requests:
        return None
    [train] = requests
    number, key = (train.tasks, "tasks") if train.tasks > 1 else (train.nodes * train.gpus, "gres or gpu")
    if number == largest.processes:
        return None
    threads = largest.threads // largest.processes
    problem = (
        f"train: {key}: {number} for the largest run, which has {largest.processes} "
        f"{'process' if largest.processes == 1 else 'processes'} and {largest.threads} threads"
    )
    if largest.processes == 1:  # Snakemake's Slurm plugin rejects mpi with one task.
        return f"{problem}; change train to a single GPU as docs/cluster.md describes (How jobs are placed)"
    return f"{problem}; set one GPU per process (threads // {threads})"


def preemption_note(request: Request, cluster: list[NodeGroup]) -> str | None:
    """A note if the partition cancels preempted jobs."""
    candidates = _node_groups(request, cluster)
    if not any("CANCEL" in group.preemption for group in candidates):
        return None
    return (
        f"preempted jobs of {candidates[0].partition} are canceled, and Snakemake waits for them forever; "
        "set a slurm_partition that requeues, or restart Snakemake then"
    )


def check_status_command(profile: Profile, settings: dict[str, str]) -> str | None:
    """Check that Snakemake can query the final state of jobs; it does so every 40 to 180 seconds."""
    accounting = "slurmdbd" in settings.get("AccountingStorageType", "")
    if profile.status_command == "sacct":
        return (
            None if accounting else "slurm-status-command: no accounting database is configured; set squeue"
        )
    age = int((re.findall(r"\d+", settings.get("MinJobAge", "")) or ["300"])[0])
    if age >= _MAX_STATUS_INTERVAL:
        return None
    problem = (
        f"slurm-status-command: squeue forgets jobs {age} s after their end, before Snakemake queries them"
    )
    remedy = "set sacct" if accounting else f"ask your administrators for MinJobAge={_MAX_STATUS_INTERVAL}"
    return f"{problem}; {remedy}"


def check_account_limits(profile: Profile, associations: str) -> Iterator[str]:
    """Accounts and job limits (`account|MaxSubmitJobs` lines of sacctmgr) that the profile violates."""
    rows = [[*line.split("|"), ""][:2] for line in associations.splitlines() if line]
    accounts = sorted({row[0] for row in rows})
    if not accounts:
        return
    for requested in sorted({request.account or "" for request in profile.requests}):
        if not requested and len(accounts) > 1:
            yield f"slurm_account: not set; your accounts are {', '.join(accounts)}"
        if requested and requested not in accounts:
            yield f"slurm_account: {requested} is not one of your accounts ({', '.join(accounts)})"
        limits = [
            int(limit) for account, limit in rows if limit.isdecimal() and account == (requested or account)
        ]
        if limits and profile.jobs > min(limits):
            yield f"jobs: {profile.jobs} in the queue at once, but your account allows {min(limits)}"


def associations() -> str:
    """The accounts of the user and their job limits, from sacctmgr; empty if there is no such database."""
    command = ["sacctmgr", "--noheader", "--parsable2", "show", "assoc", f"user={getpass.getuser()}"]
    try:
        process = subprocess.run(
            [*command, "format=account,maxsubmitjobs"],
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )
    except (FileNotFoundError, subprocess.TimeoutExpired):
        return ""
    return "" if process.returncode else process.stdout


_PROBE = """
import pathlib, socket, sys
print("shared" if pathlib.Path(sys.argv[1]).exists() else "not shared")
try:
    socket.create_connection((sys.argv[2], 443), 10).close()
    print("internet")
except OSError as error:
    print("no internet:", error)
"""


@cache
def _run_probe(partition: str | None, account: str | None, host: str) -> str:
    with tempfile.NamedTemporaryFile(dir=Path.cwd(), prefix=".node_probe_") as marker:
        command = ["srun", "--nodes=1", "--ntasks=1", "--time=5", f"--immediate={_PROBE_TIMEOUT}", "--quiet"]
        command += [f"--partition={partition}"] if partition else []
        command += [f"--account={account}"] if account else []
        return run_command(*command, sys.executable, "-c", _PROBE, marker.name, host)


def probe_node(request: Request, host: str) -> Iterator[str]:
    """Run a short job in the partition of the rule that checks the shared folder and access to `host`."""
    try:
        output = _run_probe(request.partition, request.account, host)
    except InputError as error:
        partition = request.partition or "the default partition"
        yield f"slurm_partition: a node of {partition} could not be probed: {str(error).splitlines()[-1]}"
        return
    if "not shared" in output:
        yield f"{Path.cwd()} is not visible on compute nodes; move the checkout to a shared file system"
    if "no internet" in output and request.rule in DOWNLOADING_RULES:
        yield f"slurm_partition: its nodes cannot connect to {host}; set a partition with internet access"
