"""What a Slurm cluster has: its partitions, as sinfo tells them."""

import re
import subprocess
from dataclasses import dataclass

from cloob.errors import InputError

_FIELDS = "%P|%l|%D|%c|%m|%G|%M|%T"
# Others (drained, down) run nothing, nor do those that do not answer (a star behind the state).
_USABLE = ("idle", "mixed", "allocated", "completing", "reserved", "planned")


@dataclass(frozen=True)
class Nodes:
    """Some equal nodes of a partition."""

    partition: str
    default: bool  # of the partition: jobs that name none go there
    minutes: float  # the longest that a job may ask for
    number: int
    cpus: int
    memory_mb: int
    gpus: dict[str, int]  # of one node, by model ("" where the cluster names none)
    preemption: str = "OFF"  # what is done with the partition's jobs in favour of others'


def ask(*command: str) -> str:
    """The output of one of Slurm's programs; `InputError` where it is missing or fails."""
    try:
        asked = subprocess.run(command, capture_output=True, text=True, check=False, timeout=300)
    except FileNotFoundError:
        raise InputError(f"{command[0]}: no such program; run this where you submit Slurm jobs") from None
    except subprocess.TimeoutExpired:
        raise InputError(f"{' '.join(command)}: no answer in 300 s; ask again later") from None
    if asked.returncode:
        raise InputError(f"{' '.join(command)}: {asked.stderr.strip() or asked.returncode}")
    return asked.stdout


def partitions() -> list[Nodes]:
    """All kinds of nodes of all partitions that are there to run jobs."""
    listed = [
        line.strip().split("|") for line in ask("sinfo", "--noheader", "--format", _FIELDS).splitlines()
    ]
    return [_nodes(*fields) for *fields, state in listed if state.rstrip("~#%@^$-") in _USABLE]


def _nodes(name: str, limit: str, number: str, cpus: str, memory: str, gres: str, preemption: str) -> Nodes:
    return Nodes(
        partition=name.rstrip("*"),
        default=name.endswith("*"),
        minutes=minutes_of(limit),
        number=int(number),
        cpus=int(cpus.rstrip("+")),
        memory_mb=int(memory.rstrip("+")),
        gpus=gpus_of(gres),
        preemption=preemption.upper(),
    )


def settings() -> dict[str, str]:
    """The cluster's own settings, as `scontrol show config` tells them."""
    pairs = (line.split("=", 1) for line in ask("scontrol", "show", "config").splitlines() if "=" in line)
    return {key.strip(): value.strip() for key, value in pairs}


def minutes_of(limit: str) -> float:
    """Slurm's time limits (`D-HH:MM:SS`, `HH:MM:SS`, `MM:SS`, `infinite`) in minutes."""
    if limit in ("infinite", "UNLIMITED", "n/a"):
        return float("inf")
    days, _, clock = limit.rpartition("-")
    parts = [int(part) for part in clock.split(":")]
    hours, minutes, seconds = [0] * (3 - len(parts)) + parts
    return int(days or 0) * 1440 + hours * 60 + minutes + seconds / 60


def gpus_of(gres: str) -> dict[str, int]:
    """`gpu:a100:4(S:0-1),gpu:2` -> {"a100": 4, "": 2}."""
    found: dict[str, int] = {}
    for model, number in re.findall(r"\bgpu:(?:([^:(,]*):)?(\d+)", gres):
        found[model] = found.get(model, 0) + int(number)
    return found
