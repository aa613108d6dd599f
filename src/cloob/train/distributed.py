"""The processes that `torchrun` or `srun` started: one per GPU, or gloo processes on a CPU."""

import os
import platform
import subprocess
import sys
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from typing import Any

import torch
import torch.distributed as dist

from cloob.common.errors import InputError, PeerLostError
from cloob.train.rendezvous import Identity, in_time, meet

# The longest that one process waits for another: while a node copies a terabyte of shards to its own disk, or
# the first one saves. That a process died is seen at once, by its launcher.
_PATIENCE = timedelta(hours=6)


@dataclass(frozen=True)
class World:
    """One process among all: its rank, their number, its device, and both among those of its node."""

    rank: int
    processes: int
    device: torch.device
    local_rank: int = 0
    local_processes: int = 1

    @property
    def first(self) -> bool:
        """Whether this is the process that writes files and prints."""
        return self.rank == 0

    def total(self, *values: float) -> list[float]:
        """The sums over all processes, the same in each."""
        sums = torch.tensor(values, dtype=torch.float64, device=self.device)
        dist.all_reduce(sums)
        return sums.tolist()

    def wait(self) -> None:
        """Go on when all processes are here."""
        self.total(0.0)  # sums of nothing would wait for nobody

    def agreed(self, value: Any) -> Any:
        """The first process's value, the same in each."""
        values = [value]
        dist.broadcast_object_list(values, device=self.device)
        return values[0]


@contextmanager
def joined(run: Identity | None = None) -> Iterator[World]:
    """Join the process group of `torchrun` or `srun` (alone: a group of one); leave it in any case.

    Raises `InputError` where the processes do not come together, or where one of another run than `run` joins
    (see `meet`), and `PeerLostError` where one of them fails within the block.
    """
    by_srun = "RANK" not in os.environ and _number("SLURM_STEP_NUM_TASKS", 1) > 1
    if by_srun:
        try:
            os.environ.update(_of_slurm(os.environ))
        except KeyError as missing:
            raise InputError(
                f"SLURM_STEP_NUM_TASKS is set, for several processes, but {missing.args[0]} is not; start "
                "them by srun, or set RANK and WORLD_SIZE"
            ) from None
    processes, local_processes = _number("WORLD_SIZE", 1), _number("LOCAL_WORLD_SIZE", 1)
    rank, local = _number("RANK", 0), _number("LOCAL_RANK", 0)
    if rank >= processes:
        raise InputError(f"RANK is {rank}, but WORLD_SIZE {processes}; ranks count from 0")
    if torch.cuda.is_available():
        visible = torch.cuda.device_count()
        # --gpus-per-task shows each process its own GPU alone.
        number = 0 if by_srun and visible == 1 else local
        if number >= visible:
            raise InputError(f"process {local} has no GPU: {visible} are visible here")
        device = torch.device("cuda", number)
        torch.cuda.set_device(device)
    else:
        device = torch.device("cpu")
        # Snakemake grants threads to the job, not to each of its processes; more of them than cores spin.
        torch.set_num_threads(max(1, torch.get_num_threads() // local_processes))
    backend = "nccl" if device.type == "cuda" else "gloo"
    store = meet(rank, processes, run or {}) if "RANK" in os.environ else dist.HashStore()
    store.set_timeout(_PATIENCE)
    store = dist.PrefixStore("default_pg", store)
    options = {"store": store, "rank": rank, "world_size": processes, "timeout": _PATIENCE}
    try:
        in_time(partial(dist.init_process_group, backend, **options))
    except (TimeoutError, RuntimeError) as error:
        if isinstance(error, RuntimeError) and (processes == 1 or not _is_of_a_peer(error)):
            raise
        raise PeerLostError(
            f"process {rank} of {processes} lost another one at its start, see its error"
        ) from None
    node = os.environ.get("SLURMD_NODENAME", platform.node())
    print(f"process {rank} of {processes} on {node}, {_name_of(device)}", flush=True)
    try:
        yield World(rank, processes, device, local, local_processes)
    except RuntimeError as error:
        if processes > 1 and _is_of_a_peer(error):
            reason = str(error).splitlines()[0]
            raise PeerLostError(
                f"process {rank} of {processes} lost another one, see its error ({reason})"
            ) from None
        raise
    finally:
        # After an error, NCCL would wait for processes that may never come; the end of this one closes all.
        if backend == "gloo" or sys.exc_info()[0] is None:
            dist.destroy_process_group()


def _number(name: str, least: int) -> int:
    """The number that an environment variable holds, `least` where it is not set. Raises `InputError`."""
    value = os.environ.get(name, str(least))
    if not value.isdecimal() or int(value) < least:
        raise InputError(f"{name} is {value!r}, not a number from {least} on; set it, or unset it")
    return int(value)


def _is_of_a_peer(error: RuntimeError) -> bool:
    return isinstance(error, dist.DistError) or "gloo" in str(error).lower()


def _name_of(device: torch.device) -> str:
    if device.type == "cuda":
        return f"{device} ({torch.cuda.get_device_name(device)})"
    return f"{torch.get_num_threads()} CPU threads"


def _of_slurm(step: Mapping[str, str]) -> dict[str, str]:
    """What torchrun would set, out of what srun sets; the first node of the step is where all meet."""
    address = step.get("MASTER_ADDR")
    if address is None:
        first = _scontrol("show", "hostnames", step["SLURM_STEP_NODELIST"]).split()[0]
        node = _scontrol("--oneliner", "show", "node", first)
        # The name of a node need not be one that resolves.
        address = next((part[9:] for part in node.split() if part.startswith("NodeAddr=")), first)
    return {
        "RANK": step["SLURM_PROCID"],
        "WORLD_SIZE": step["SLURM_STEP_NUM_TASKS"],
        "LOCAL_RANK": step["SLURM_LOCALID"],
        "LOCAL_WORLD_SIZE": step["SLURM_STEP_TASKS_PER_NODE"].split("(")[0].split(",")[0],
        "MASTER_ADDR": address,
        "MASTER_PORT": step.get("MASTER_PORT") or str(_port(step)),
    }


def _port(step: Mapping[str, str]) -> int:
    """One per job and step, below those that Linux gives to clients: steps on a node do not meet."""
    return 20000 + zlib.crc32(f"{step['SLURM_JOB_ID']}.{step.get('SLURM_STEP_ID', '0')}".encode()) % 12768


def _scontrol(*arguments: str) -> str:
    command = ["scontrol", *arguments]
    try:
        asked = subprocess.run(command, capture_output=True, text=True, check=True, timeout=300)
    except subprocess.CalledProcessError as error:
        reason = error.stderr.strip()
    except (OSError, subprocess.TimeoutExpired) as error:
        reason = getattr(error, "strerror", None) or "no answer"
    else:
        return asked.stdout
    raise InputError(f"{' '.join(command)}: {reason}; set MASTER_ADDR and MASTER_PORT")
