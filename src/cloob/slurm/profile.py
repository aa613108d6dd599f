"""Read the resource requests of every rule from the Slurm profile."""

import re
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from cloob.common.errors import InputError
from cloob.common.yaml_file import read_yaml
from cloob.slurm.partitions import parse_gpus
from cloob.slurm.resources import (
    DependsOnJobError,
    Value,
    evaluate,
    get_int,
    get_text,
    parse_assignments,
    parse_resources,
    parse_rule_resources,
)

# Values that Snakemake's Slurm plugin accepts.
_GRES = re.compile(r"\w+(:[\w.]+)?(:\d+[TGM]?)?", re.ASCII)
_MODEL = re.compile(r"[\w.]+", re.ASCII)
# Anchors of the site block, not rules.
SITE_ANCHORS = ("nodes_with_gpus", "nodes_for_training", "nodes_with_internet")


@dataclass(frozen=True)
class Request:
    """The resources that jobs of a rule request; CPUs, memory and GPUs are per node."""

    rule: str
    partition: str | None
    account: str | None
    minutes: float  # runtime of the job, of a group: the sum; 0: the default of the partition
    group_size: int  # maximum number of jobs of the rule's group in one Slurm job
    nodes: int
    tasks: int  # on all nodes together
    cpus: int
    memory_mb: int
    gpus: int
    model: str  # of the GPUs, or ""
    has_two_models: bool  # gpu_model is set together with gres, which Slurm rejects
    memory_key: str = "mem_mb"  # the key that sets `memory_mb`
    unknown: tuple[str, ...] = ()  # keys whose values depend on the job
    unsupported: tuple[str, ...] = ()  # keys that Snakemake's Slurm plugin ignores


@dataclass(frozen=True)
class Profile:
    """The settings for all jobs and the requests of all rules in the profile."""

    jobs: int  # maximum number in the queue
    status_command: str
    requests: list[Request]
    rules: dict[str, str]  # every rule name in the profile -> the first key that contains it


def read_profile(path: Path, workflow_threads: Mapping[str, int] | None = None) -> Profile:
    """Read the profile; raises `InputError` with rule and key if it is invalid.

    `workflow_threads` are the threads in the workflow of rules that the profile does not set (default 1).
    """
    profile = read_yaml(path, "profile; run this in the root of the repository")
    try:
        if not isinstance(profile, dict) or not profile.get("set-resources"):
            raise ValueError("not a profile (no map with set-resources)")
        if profile.get("__use_yte__"):
            raise ValueError("__use_yte__: YTE templates are not supported by this check")
        defaults = parse_assignments(profile.get("default-resources"), "default-resources")
        by_rule = parse_rule_resources(profile["set-resources"])
        threads = {rule: str(number) for rule, number in (workflow_threads or {}).items()}
        threads |= parse_assignments(profile.get("set-threads"), "set-threads")
        groups = {
            rule: group.strip("'\"")
            for rule, group in parse_assignments(profile.get("groups"), "groups").items()
        }
        components = parse_assignments(profile.get("group-components"), "group-components")
        # Requests may depend on `attempt`; the first or the last attempt requests the most.
        retries = next((key for key in ("retries", "restart-times") if profile.get(key) is not None), None)
        attempts = (1, 1 + _parse_int(profile[retries], retries) if retries else 1)
        requests = [
            _request(rule, defaults, resources, _threads(threads, rule, attempts), attempts)
            for rule, resources in by_rule.items()
            if rule not in SITE_ANCHORS
        ]
        rules_by_key: dict[str, Iterable[str]] = {
            "groups": groups,
            "set-threads": parse_assignments(profile.get("set-threads"), "set-threads"),
            "set-resources": by_rule,
        }
        return Profile(
            jobs=_parse_int(profile.get("jobs"), "jobs"),
            status_command=str(profile.get("slurm-status-command") or "sacct"),
            requests=_add_group_runtimes(
                requests,
                groups,
                {group: _parse_int(size, "group-components") for group, size in components.items()},
            ),
            rules={
                rule: key for key, rules in rules_by_key.items() for rule in rules if rule not in SITE_ANCHORS
            },
        )
    except ValueError as error:
        raise InputError(f"{path}: {error}") from None


def _parse_int(value: Any, key: str) -> int:
    """An integer of the profile, quoted or not. Raises `ValueError`."""
    text = str(value).strip("'\"")
    if key == "jobs" and text == "unlimited":
        return sys.maxsize
    if not text.isdecimal():
        raise ValueError(f"{key}: {value!r} is not an integer")
    return int(text)


def _threads(threads: dict[str, str], rule: str, attempts: Sequence[int]) -> int:
    """The threads of a rule: a number or an expression. Raises `ValueError`."""
    text = threads.get(rule, "1").strip("'\"")
    try:
        values = [evaluate(text, attempt=attempt) for attempt in attempts]
    except DependsOnJobError:
        return 1
    except ValueError as error:
        raise ValueError(f"set-threads.{rule}: {error}") from None
    numbers = [value for value in values if isinstance(value, (int, float))]
    if len(numbers) < len(values):
        raise ValueError(f"set-threads.{rule}: {text!r} is not a number of threads")
    return max(round(number) for number in numbers)


def _request(
    rule: str, defaults: dict[str, str], resources: dict[str, str], threads: int, attempts: Sequence[int]
) -> Request:
    """The maximum of the requests of the given attempts. Raises `ValueError`."""
    key = f"set-resources.{rule}"
    first, *others = (
        parse_resources(defaults, "default-resources", attempt, threads)
        | parse_resources(resources, key, attempt, threads)
        for attempt in attempts
    )
    for other in others:
        for name, value in other.items():
            if isinstance(value, int) and isinstance(previous := first.get(name), int):
                first[name] = max(value, previous)
    try:
        return _from_resources(rule, first, threads, "mem" if "mem" in resources else "mem_mb")
    except ValueError as error:
        raise ValueError(f"{key}.{error}") from None


def _from_resources(
    rule: str, resources: dict[str, Value | DependsOnJobError], threads: int, memory_key: str
) -> Request:
    nodes = get_int(resources, "nodes", 1, minimum=1)
    tasks = get_int(resources, "tasks_per_node") * nodes or get_int(resources, "tasks") or 1
    for key in ("tasks_per_node", "tasks"):
        if resources.get("mpi") and resources.get(key) == 1:
            raise ValueError(f"{key}: Snakemake's Slurm plugin rejects 1 with mpi; write 2, or remove mpi")
    gres, model = get_text(resources, ["gres"]) or "", get_text(resources, ["gpu_model"]) or ""
    if gres and not _GRES.fullmatch(gres):
        raise ValueError(
            f"gres: Snakemake's Slurm plugin rejects {gres!r}; write NAME:NUMBER or NAME:TYPE:NUMBER"
        )
    if model and not _MODEL.fullmatch(model):
        raise ValueError(
            f"gpu_model: Snakemake's Slurm plugin rejects {model!r}; write gres: gpu:TYPE:NUMBER"
        )
    if not (kinds := parse_gpus(gres)):
        gpu = get_text(resources, ["gpu"]) or ("1" if model else "0")  # on all nodes together
        if not gpu.isdecimal():
            raise ValueError(f"gpu: {gpu!r} is not a number of GPUs; set the model by gpu_model")
        kinds = {model: -(-int(gpu) // nodes)}
    [(model, gpus)] = kinds.items()
    cpus = -(-tasks // nodes) * threads
    if cpus_per_task := get_int(resources, "cpus_per_task", minimum=-1):
        cpus = max(0, -(-tasks // nodes) * cpus_per_task)
    elif gpus and (cpus_per_gpu := get_int(resources, "cpus_per_gpu", minimum=-1)):
        cpus = max(0, gpus * cpus_per_gpu)
    return Request(
        rule=rule,
        partition=get_text(resources, ["slurm_partition"]),
        account=get_text(resources, ["slurm_account"]),
        minutes=get_int(resources, "runtime"),
        group_size=1,
        nodes=nodes,
        tasks=tasks,
        cpus=cpus,
        memory_mb=get_int(resources, "mem_mb_per_cpu") * cpus or get_int(resources, "mem_mb"),
        gpus=gpus,
        model=model,
        has_two_models="gres" in resources and "gpu_model" in resources,
        memory_key="mem_mb_per_cpu" if resources.get("mem_mb_per_cpu") else memory_key,
        unknown=tuple(name for name, value in resources.items() if isinstance(value, DependsOnJobError)),
        unsupported=tuple({"gpus"} & resources.keys()),
    )


def _add_group_runtimes(
    requests: list[Request], groups: dict[str, str], sizes: dict[str, int]
) -> list[Request]:
    """Set the runtime of grouped rules to that of the longest job of their group."""
    longest: dict[str, float] = {}
    for request in requests:
        if (group := groups.get(request.rule)) is not None:
            longest[group] = max(longest.get(group, 0), request.minutes)
    result = []
    for request in requests:
        group = groups.get(request.rule)
        size = sizes.get(group, 1) if group else 1
        minutes = size * longest[group] if group else request.minutes
        result.append(replace(request, minutes=minutes, group_size=size))
    return result
