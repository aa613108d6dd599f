"""What the cluster profile asks for, rule by rule."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from cloob.cluster.partitions import gpus_of
from cloob.errors import InputError


@dataclass(frozen=True)
class Request:
    """What the jobs of a rule ask of each of their nodes."""

    rule: str
    partition: str | None
    account: str | None
    minutes: float
    nodes: int
    cpus: int
    memory_mb: int
    gpus: int
    model: str  # of the GPUs, or ""


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
        rules = profile["set-resources"]
        threads = profile.get("set-threads", {})
        return Profile(
            jobs=int(profile["jobs"]),
            status_command=str(profile.get("slurm-status-command", "sacct")),
            requests=[
                _request(rule, defaults | asked, threads.get(rule, 1)) for rule, asked in rules.items()
            ],
        )
    except OSError as error:
        raise InputError(f"{path}: {error.strerror}; run this in the root of the repository") from None
    except (yaml.YAMLError, KeyError, TypeError, ValueError, AttributeError) as error:
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
        minutes=float(asked["runtime"]),
        nodes=nodes,
        cpus=-(-tasks // nodes) * int(asked.get("cpus_per_task", threads)),
        memory_mb=int(asked["mem_mb"]),
        gpus=gpus,
        model=model,
    )
