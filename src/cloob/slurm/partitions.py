"""What a Slurm cluster has: its partitions, as sinfo tells them."""

import re
import subprocess
from dataclasses import dataclass

from cloob.common.errors import InputError

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
    preemption: str = "OFF"  # what is done with the partition's jobs in favor of others'


def ask(*command: str) -> str:
    """The output of one of Slurm's programs; `InputError` of one line where it is missing or fails."""
    try:
        asked = subprocess.run(
            command, capture_output=True, text=True, errors="replace", check=False, timeout=300
        )
    except FileNotFoundError:
        raise InputError(f"{command[0]}: no such program; run this where you submit Slurm jobs") from None
    except subprocess.TimeoutExpired:
        raise InputError(f"{command[0]}: no answer in 300 s; ask again later") from None
    if asked.returncode:
        # The last line is the cause; those before tell of what was tried.
        [*_, said] = ["", *asked.stderr.strip().splitlines()]
        said = said.removeprefix(f"{command[0]}: ") or f"exit status {asked.returncode}"
        # srun reached Slurm: the others are asked before.
        remedy = "" if command[0] == "srun" else "; run this where you submit Slurm jobs"
        raise InputError(f"{command[0]}: {said}{remedy}")
    return asked.stdout


def partitions() -> list[Nodes]:
    """All kinds of nodes of all partitions that are there to run jobs."""
    found = []
    for line in ask("sinfo", "--noheader", "--format", _FIELDS).splitlines():
        *fields, state = line.strip().split("|")
        if len(fields) != _FIELDS.count("|"):
            raise InputError(f"sinfo: {line!r} is not of the form {_FIELDS}; is this Slurm's sinfo?")
        if state.rstrip("~#!%@^$-+") in _USABLE:
            found.append(_nodes(*fields))
    return found


def _nodes(name: str, limit: str, number: str, cpus: str, memory: str, gres: str, preemption: str) -> Nodes:
    return Nodes(
        partition=name.rstrip("*"),
        default=name.endswith("*"),
        minutes=minutes_of(limit),
        number=_whole(number),
        cpus=_whole(cpus),
        memory_mb=_whole(memory, unit="M"),
        gpus=gpus_of(gres),
        preemption=preemption.upper(),
    )


def _whole(text: str, unit: str = "") -> int:
    """`128000+`, `515000M` or `1.5T` of memory (`unit` M: in MB), `2K` of nodes."""
    matched = re.fullmatch(r"(\d+(?:\.\d+)?)([KMGTP]?)\+?", text)
    if matched is None:
        raise InputError(f"sinfo: {text!r} is no number; is this Slurm's sinfo?")
    units = ["", *"KMGTP"]
    power = units.index(matched[2] or unit) - units.index(unit)
    return int(float(matched[1]) * (1024 if unit else 1000) ** power)


def settings() -> dict[str, str]:
    """The cluster's own settings, as `scontrol show config` tells them."""
    pairs = (line.split("=", 1) for line in ask("scontrol", "show", "config").splitlines() if "=" in line)
    return {key.strip(): value.strip() for key, value in pairs}


def minutes_of(limit: str) -> float:
    """Slurm's time limits (`D-HH:MM:SS`, `D-HH`, `HH:MM:SS`, `MM:SS`, `infinite`) in minutes."""
    if limit.lower() in ("infinite", "unlimited", "n/a"):
        return float("inf")
    if not re.fullmatch(r"(\d+-)?\d+(:\d+){0,2}", limit):
        raise InputError(f"sinfo: {limit!r} is no time limit; is this Slurm's sinfo?")
    days, _, clock = limit.rpartition("-")
    parts = [int(part) for part in clock.split(":")]
    # With days the first number is hours, else the last one seconds.
    filling = [0] * (3 - len(parts))
    hours, minutes, seconds = parts + filling if days else filling + parts
    return int(days or 0) * 1440 + hours * 60 + minutes + seconds / 60


def gpus_of(gres: str) -> dict[str, int]:
    """`gpu:a100:4(S:0-1),gpu:2` -> {"a100": 4, "": 2}; `gpu` alone is one."""
    found: dict[str, int] = {}
    # Behind a number, in brackets, which sockets or devices they are of.
    for one in re.sub(r"\([^)]*\)", "", gres).split(","):
        name, *parts = one.strip().removeprefix("gres/").split(":")
        number = parts.pop() if parts and parts[-1].isdecimal() else "1"
        if name == "gpu":
            model = ":".join(parts)
            found[model] = found.get(model, 0) + int(number)
    return found
