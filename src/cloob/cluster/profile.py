"""What the cluster profile asks for, rule by rule."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import yaml
from humanfriendly import InvalidTimespan, parse_timespan

from cloob.cluster.partitions import gpus_of
from cloob.errors import InputError

# Not rules: what the site's block says of several.
SITE = ("nodes_with_gpus", "nodes_for_training", "nodes_with_internet")


@dataclass(frozen=True)
class Request:
    """What the jobs of a rule ask of each of their nodes."""

    rule: str
    partition: str | None
    account: str | None
    minutes: float  # of the job: of a group, all that it may hold, one after another
    grouped: int  # so many of the rule's group may be one job
    nodes: int
    tasks: int  # of all nodes
    cpus: int
    memory_mb: int
    gpus: int
    model: str  # of the GPUs, or ""
    two_models: bool  # the model is asked for beside `gres`, which Slurm refuses


@dataclass(frozen=True)
class Profile:
    """What the profile says of all jobs, and the requests of all rules that it names."""

    jobs: int  # in the queue at once
    status_command: str
    requests: list[Request]


def read_profile(path: Path) -> Profile:
    """Read the profile; `InputError` where that cannot be done."""
    try:
        profile = yaml.safe_load(path.read_text(encoding="utf-8"))
        given = profile.get("default-resources", [])
        defaults = given if isinstance(given, dict) else dict(entry.split("=", 1) for entry in given)
        rules = {rule: asked for rule, asked in profile["set-resources"].items() if rule not in SITE}
        threads = profile.get("set-threads", {})
        requests = [_request(rule, defaults | asked, threads.get(rule, 1)) for rule, asked in rules.items()]
        return Profile(
            jobs=int(profile["jobs"]),
            status_command=str(profile.get("slurm-status-command", "sacct")),
            requests=_grouped(requests, profile.get("groups", {}), profile.get("group-components", {})),
        )
    except OSError as error:
        raise InputError(f"{path}: {error.strerror}; run this in the root of the repository") from None
    except (yaml.YAMLError, KeyError, TypeError, ValueError, AttributeError, InvalidTimespan) as error:
        raise InputError(f"{path}: not a profile ({' '.join(str(error).split())})") from None


def _request(rule: str, asked: dict[str, Any], threads: int) -> Request:
    nodes, tasks = int(asked.get("nodes", 1)), int(asked.get("tasks", 1))
    models = gpus_of(str(asked.get("gres", ""))) or {
        str(asked.get("gpu_model", "")): int(asked.get("gpu", 0))
    }
    [(model, gpus)] = models.items()
    return Request(
        rule=rule,
        partition=asked.get("slurm_partition"),
        account=asked.get("slurm_account"),
        minutes=_minutes(asked["runtime"]),
        grouped=1,
        nodes=nodes,
        tasks=tasks,
        cpus=-(-tasks // nodes) * int(asked.get("cpus_per_task", threads)),
        memory_mb=int(asked["mem_mb"]),
        gpus=gpus,
        model=model,
        two_models="gres" in asked and "gpu_model" in asked,
    )


def _minutes(runtime: Any) -> float:
    """A runtime as snakemake takes it: minutes, or a word such as `2d`."""
    text = str(runtime)
    return float(text) if text.isdigit() else parse_timespan(text) / 60


def _grouped(requests: list[Request], groups: dict[str, str], components: dict[str, int]) -> list[Request]:
    """The requests, those of a group with the minutes of the longest job that it can be."""
    longest: dict[str, float] = {}
    for request in requests:
        if (group := groups.get(request.rule)) is not None:
            longest[group] = max(longest.get(group, 0), request.minutes)
    found = []
    for request in requests:
        group = groups.get(request.rule)
        count = int(components.get(group, 1)) if group else 1
        minutes = count * longest[group] if group else request.minutes
        found.append(replace(request, minutes=minutes, grouped=count))
    return found
