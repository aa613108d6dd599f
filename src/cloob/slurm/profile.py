"""What the cluster profile asks for, rule by rule."""

import re
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from cloob.common.errors import InputError
from cloob.common.yaml_file import read_yaml
from cloob.slurm.partitions import gpus_of
from cloob.slurm.resources import (
    DependsOnJobError,
    Value,
    evaluated,
    of_rules,
    pairs,
    resources,
    whole,
    word,
)

# What snakemake's Slurm plugin lets through.
_GRES = re.compile(r"\w+(:[\w.]+)?(:\d+[TGM]?)?", re.ASCII)
_MODEL = re.compile(r"[\w.]+", re.ASCII)
# Not rules: what the site's block says of several.
SITE = ("nodes_with_gpus", "nodes_for_training", "nodes_with_internet")


@dataclass(frozen=True)
class Request:
    """What the jobs of a rule ask of each of their nodes."""

    rule: str
    partition: str | None
    account: str | None
    minutes: (
        float  # of the job (0: the partition's default): of a group, all that it may hold, one after another
    )
    grouped: int  # so many of the rule's group may be one job
    nodes: int
    tasks: int  # of all nodes
    cpus: int
    memory_mb: int
    gpus: int
    model: str  # of the GPUs, or ""
    two_models: bool  # the model is asked for beside `gres`, which Slurm refuses
    memory_key: str = "mem_mb"  # that `memory_mb` was given by
    unknown: tuple[str, ...] = ()  # keys whose values depend on the job
    not_passed_on: tuple[str, ...] = ()  # keys that snakemake's Slurm plugin does not know


@dataclass(frozen=True)
class Profile:
    """What the profile says of all jobs, and the requests of all rules that it names."""

    jobs: int  # in the queue at once
    status_command: str
    requests: list[Request]
    rules: dict[str, str]  # every name of a rule in it, with the first key that it is below


def read_profile(path: Path) -> Profile:
    """Read the profile; `InputError` where that cannot be done, which names rule and key."""
    profile = read_yaml(path, "profile; run this in the root of the repository")
    try:
        if not isinstance(profile, dict) or not profile.get("set-resources"):
            raise ValueError("not a profile (no map with set-resources)")
        if profile.get("__use_yte__"):
            raise ValueError("__use_yte__: this check reads plain YAML, no templates")
        defaults = pairs(profile.get("default-resources"), "default-resources")
        by_rule = of_rules(profile["set-resources"])
        threads = pairs(profile.get("set-threads"), "set-threads")
        groups = {rule: group.strip("'\"") for rule, group in pairs(profile.get("groups"), "groups").items()}
        components = pairs(profile.get("group-components"), "group-components")
        # A request may grow with the attempts: of all, the last one asks for the most, or the first.
        retries = next((key for key in ("retries", "restart-times") if profile.get(key) is not None), None)
        attempts = (1, 1 + _number(profile[retries], retries) if retries else 1)
        requests = [
            _request(rule, defaults, asked, _threads(threads, rule, attempts), attempts)
            for rule, asked in by_rule.items()
            if rule not in SITE
        ]
        names = {"groups": groups, "set-threads": threads, "set-resources": by_rule}
        return Profile(
            jobs=_number(profile.get("jobs"), "jobs"),
            status_command=str(profile.get("slurm-status-command") or "sacct"),
            requests=_grouped(
                requests,
                groups,
                {group: _number(one, "group-components") for group, one in components.items()},
            ),
            rules={rule: key for key, of in names.items() for rule in of if rule not in SITE},
        )
    except ValueError as error:
        raise InputError(f"{path}: {error}") from None


def _number(given: Any, key: str) -> int:
    """A number of the profile itself, quoted or not. Raises `ValueError`."""
    text = str(given).strip("'\"")
    if key == "jobs" and text == "unlimited":
        return sys.maxsize
    if not text.isdecimal():
        raise ValueError(f"{key}: {given!r} is not a whole number; set one")
    return int(text)


def _threads(given: dict[str, str], rule: str, attempts: Sequence[int]) -> int:
    """The threads of a rule: a number or an expression. Raises `ValueError`."""
    text = given.get(rule, "1").strip("'\"")
    try:
        values = [evaluated(text, attempt=attempt) for attempt in attempts]
    except DependsOnJobError:
        return 1
    except ValueError as error:
        raise ValueError(f"set-threads.{rule}: {error}") from None
    if not all(isinstance(value, (int, float)) for value in values):
        raise ValueError(f"set-threads.{rule}: {text!r} is not a number of threads")
    return max(round(value) for value in values)


def _request(
    rule: str, defaults: dict[str, str], asked: dict[str, str], threads: int, attempts: Sequence[int]
) -> Request:
    """The larger of what the first and the last attempt ask for. Raises `ValueError`."""
    where = f"set-resources.{rule}"
    first, *others = (
        resources(defaults, "default-resources", attempt, threads) | resources(asked, where, attempt, threads)
        for attempt in attempts
    )
    for other in others:
        for name, value in other.items():
            if isinstance(value, int) and isinstance(before := first.get(name), int):
                first[name] = max(value, before)
    try:
        return _of_resources(rule, first, threads, "mem" if "mem" in asked else "mem_mb")
    except ValueError as error:
        raise ValueError(f"{where}.{error}") from None


def _of_resources(
    rule: str, asked: dict[str, Value | DependsOnJobError], threads: int, memory_key: str
) -> Request:
    nodes = whole(asked, "nodes", 1, least=1)
    tasks = whole(asked, "tasks_per_node") * nodes or whole(asked, "tasks") or 1
    gres, model = word(asked, ["gres"]) or "", word(asked, ["gpu_model"]) or ""
    if gres and not _GRES.fullmatch(gres):
        raise ValueError(
            f"gres: snakemake's Slurm plugin refuses {gres!r}; write NAME:NUMBER or NAME:TYPE:NUMBER"
        )
    if model and not _MODEL.fullmatch(model):
        raise ValueError(
            f"gpu_model: snakemake's Slurm plugin refuses {model!r}; write gres: gpu:TYPE:NUMBER"
        )
    if not (kinds := gpus_of(gres)):
        gpu = word(asked, ["gpu"]) or ("1" if model else "0")  # of all nodes
        if not gpu.isdecimal():
            raise ValueError(f"gpu: {gpu!r} is not a number of GPUs; write one, and gpu_model for their kind")
        kinds = {model: -(-int(gpu) // nodes)}
    [(model, gpus)] = kinds.items()
    cpus = -(-tasks // nodes) * threads
    if of_a_task := whole(asked, "cpus_per_task", least=-1):
        cpus = max(0, -(-tasks // nodes) * of_a_task)
    elif gpus and (of_a_gpu := whole(asked, "cpus_per_gpu", least=-1)):
        cpus = max(0, gpus * of_a_gpu)
    return Request(
        rule=rule,
        partition=word(asked, ["slurm_partition"]),
        account=word(asked, ["slurm_account"]),
        minutes=whole(asked, "runtime"),
        grouped=1,
        nodes=nodes,
        tasks=tasks,
        cpus=cpus,
        memory_mb=whole(asked, "mem_mb_per_cpu") * cpus or whole(asked, "mem_mb"),
        gpus=gpus,
        model=model,
        two_models="gres" in asked and "gpu_model" in asked,
        memory_key="mem_mb_per_cpu" if asked.get("mem_mb_per_cpu") else memory_key,
        unknown=tuple(name for name, value in asked.items() if isinstance(value, DependsOnJobError)),
        not_passed_on=tuple({"gpus"} & asked.keys()),
    )


def _grouped(requests: list[Request], groups: dict[str, str], components: dict[str, int]) -> list[Request]:
    """The requests, those of a group with the minutes of the longest job that it can be."""
    longest: dict[str, float] = {}
    for request in requests:
        if (group := groups.get(request.rule)) is not None:
            longest[group] = max(longest.get(group, 0), request.minutes)
    found = []
    for request in requests:
        group = groups.get(request.rule)
        count = components.get(group, 1) if group else 1
        minutes = count * longest[group] if group else request.minutes
        found.append(replace(request, minutes=minutes, grouped=count))
    return found
