"""The partitions and settings of a Slurm cluster, from sinfo and scontrol."""

import re
import subprocess
from dataclasses import dataclass

from cloob.common.errors import InputError

_FIELDS = "%P|%l|%D|%c|%m|%G|%M|%T"
# Nodes in other states (drained, down) run no jobs; nor do unresponsive nodes (`*` after the state).
_USABLE_STATES = ("idle", "mixed", "allocated", "completing", "reserved", "planned")


@dataclass(frozen=True)
class NodeGroup:
    """Nodes of a partition with the same hardware; CPUs, memory and GPUs are those of one node."""

    partition: str
    is_default: bool  # whether the partition is the default partition
    minutes: float  # time limit of jobs
    count: int
    cpus: int
    memory_mb: int
    gpus: dict[str, int]  # by model ("" if the cluster does not name models)
    preemption: str = "OFF"  # PreemptMode of the partition


def run_command(*command: str) -> str:
    """The output of a Slurm program; raises a one-line `InputError` if it is missing or fails."""
    try:
        process = subprocess.run(
            command, capture_output=True, text=True, errors="replace", check=False, timeout=300
        )
    except FileNotFoundError:
        raise InputError(f"{command[0]}: program not found; run this where you submit Slurm jobs") from None
    except subprocess.TimeoutExpired:
        raise InputError(f"{command[0]}: no response within 300 s; try again later") from None
    if process.returncode:
        # The last line has the cause.
        [*_, message] = ["", *process.stderr.strip().splitlines()]
        message = message.removeprefix(f"{command[0]}: ") or f"exit status {process.returncode}"
        # srun runs after the other programs, so Slurm is reachable.
        remedy = "" if command[0] == "srun" else "; run this where you submit Slurm jobs"
        raise InputError(f"{command[0]}: {message}{remedy}")
    return process.stdout


def partitions() -> list[NodeGroup]:
    """The usable nodes of all partitions, grouped by hardware."""
    groups = []
    for line in run_command("sinfo", "--noheader", "--format", _FIELDS).splitlines():
        *fields, state = line.strip().split("|")
        if len(fields) != _FIELDS.count("|"):
            raise InputError(f"sinfo: {line!r} does not have the format {_FIELDS}; is this Slurm's sinfo?")
        if state.rstrip("~#!%@^$-+") in _USABLE_STATES:
            groups.append(_node_group(*fields))
    return groups


def _node_group(
    name: str, limit: str, count: str, cpus: str, memory: str, gres: str, preemption: str
) -> NodeGroup:
    return NodeGroup(
        partition=name.rstrip("*"),
        is_default=name.endswith("*"),
        minutes=parse_time_limit(limit),
        count=_integer(count),
        cpus=_integer(cpus),
        memory_mb=_integer(memory, unit="M"),
        gpus=parse_gpus(gres),
        preemption=preemption.upper(),
    )


def _integer(text: str, unit: str = "") -> int:
    """Parse counts such as `2K`, and sizes in `unit` such as `128000+`, `515000M` or `1.5T`."""
    matched = re.fullmatch(r"(\d+(?:\.\d+)?)([KMGTP]?)\+?", text)
    if matched is None:
        raise InputError(f"sinfo: {text!r} is not a number; is this Slurm's sinfo?")
    units = ["", *"KMGTP"]
    power = units.index(matched[2] or unit) - units.index(unit)
    return int(float(matched[1]) * (1024 if unit else 1000) ** power)


def settings() -> dict[str, str]:
    """The configuration of the cluster, from `scontrol show config`."""
    pairs = (
        line.split("=", 1) for line in run_command("scontrol", "show", "config").splitlines() if "=" in line
    )
    return {key.strip(): value.strip() for key, value in pairs}


def parse_time_limit(limit: str) -> float:
    """Parse a time limit (`D-HH:MM:SS`, `D-HH`, `HH:MM:SS`, `MM:SS`, `infinite`) into minutes."""
    if limit.lower() in ("infinite", "unlimited", "n/a"):
        return float("inf")
    if not re.fullmatch(r"(\d+-)?\d+(:\d+){0,2}", limit):
        raise InputError(f"sinfo: {limit!r} is not a time limit; is this Slurm's sinfo?")
    days, _, clock = limit.rpartition("-")
    parts = [int(part) for part in clock.split(":")]
    # With days, the first number is hours; without, the last number is seconds.
    padding = [0] * (3 - len(parts))
    hours, minutes, seconds = parts + padding if days else padding + parts
    return int(days or 0) * 1440 + hours * 60 + minutes + seconds / 60


def parse_gpus(gres: str) -> dict[str, int]:
    """GPUs by model: `gpu:a100:4(S:0-1),gpu:2` -> {"a100": 4, "": 2}; `gpu` without a number is one GPU."""
    gpus: dict[str, int] = {}
    # Sockets or device indices are in parentheses after the number.
    for entry in re.sub(r"\([^)]*\)", "", gres).split(","):
        name, *parts = entry.strip().removeprefix("gres/").split(":")
        number = parts.pop() if parts and parts[-1].isdecimal() else "1"
        if name == "gpu":
            model = ":".join(parts)
            gpus[model] = gpus.get(model, 0) + int(number)
    return gpus
