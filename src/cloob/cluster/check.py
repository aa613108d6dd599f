"""The profile's requests against the cluster's partitions, in plain words."""

import getpass
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from cloob.cluster.partitions import Nodes, ask
from cloob.cluster.profile import Request

# Seconds that a look from a compute node may wait in the queue.
_PATIENCE = 120


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
    if request.minutes > (most := max(nodes.minutes for nodes in there)):
        yield (
            f"runtime: {request.minutes:.0f} minutes, but partition {name} allows {most:.0f}; set that "
            "(fetch, pack and train go on where they were), or name another slurm_partition"
        )
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
        yield f"mem_mb: {request.memory_mb}, but nodes of {name} have {most}"


def _gpus(nodes: Nodes, model: str) -> int:
    return nodes.gpus.get(model, 0) if model else sum(nodes.gpus.values())


def _names(cluster: list[Nodes]) -> str:
    return ", ".join(sorted({nodes.partition for nodes in cluster})) or "none: sinfo shows no partition"


def account_misfit(request: Request) -> str | None:
    """What is wrong with the account, where the cluster keeps accounts that can be asked for."""
    command = ["sacctmgr", "--noheader", "--parsable2", "show", "assoc", f"user={getpass.getuser()}"]
    try:
        asked = subprocess.run(
            [*command, "format=account"], capture_output=True, text=True, check=False, timeout=60
        )
    except (FileNotFoundError, subprocess.TimeoutExpired):
        return None
    accounts = sorted(set(asked.stdout.split()))
    if asked.returncode or not accounts or request.account in accounts:
        return None
    if request.account is None:
        return f"slurm_account: none is named; yours are {', '.join(accounts)}" if len(accounts) > 1 else None
    return f"slurm_account: {request.account} is none of yours ({', '.join(accounts)})"


_LOOK = """
import pathlib, socket, subprocess, sys
print("shared" if pathlib.Path(sys.argv[1]).exists() else "not shared")
try:
    socket.create_connection((sys.argv[2], 443), 10).close()
    print("internet")
except OSError as error:
    print("no internet:", error)
"""


def look_from_a_node(request: Request, host: str) -> list[str]:
    """What a compute node of the rule's partition lacks: this folder, or the way to `host`. Runs a job."""
    with tempfile.NamedTemporaryFile(dir=Path.cwd(), prefix=".seen_from_a_node_") as mark:
        command = ["srun", "--nodes=1", "--ntasks=1", "--time=5", f"--immediate={_PATIENCE}", "--quiet"]
        command += [f"--partition={request.partition}"] if request.partition else []
        command += [f"--account={request.account}"] if request.account else []
        seen = ask(*command, sys.executable, "-c", _LOOK, mark.name, host)
    lacks = []
    if "not shared" in seen:
        lacks.append(
            f"{Path.cwd()} is not seen from compute nodes; move the checkout to a shared file system"
        )
    if "no internet" in seen and request.rule == "fetch":
        lacks.append(f"slurm_partition: its nodes do not reach {host}; name a partition with internet")
    return lacks
