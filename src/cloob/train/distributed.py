"""The processes that `torchrun` or `srun` started: one per GPU, or gloo processes on a CPU."""

import os
import platform
import signal
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import torch
import torch.distributed as dist

from cloob.errors import InputError
from cloob.processes import end_with

# The longest that one process waits for another: while a node copies a terabyte of shards to its own disk, or
# the first one saves. That a process died is seen at once, by its launcher.
_PATIENCE = timedelta(hours=6)


@dataclass(frozen=True)
class World:
    """One process among all: its rank, their number, its device, its rank on its node."""

    rank: int
    processes: int
    device: torch.device
    local_rank: int = 0

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
def joined() -> Iterator[World]:
    """Join the process group of `torchrun` or `srun` (alone: a group of one); leave it in any case."""
    by_srun = "RANK" not in os.environ and int(os.environ.get("SLURM_STEP_NUM_TASKS", "1")) > 1
    if by_srun:
        os.environ.update(_of_slurm(os.environ))
    alone = {"RANK": "0", "WORLD_SIZE": "1", "LOCAL_RANK": "0", "LOCAL_WORLD_SIZE": "1"}
    environment = {name: os.environ.get(name, default) for name, default in alone.items()}
    local = int(environment["LOCAL_RANK"])
    if "TORCHELASTIC_RUN_ID" in os.environ:
        # torchrun gives its processes sessions of their own: killed, it would leave them training.
        end_with(os.getppid(), signal.SIGKILL)
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
        torch.set_num_threads(max(1, torch.get_num_threads() // int(environment["LOCAL_WORLD_SIZE"])))
    rank, processes = int(environment["RANK"]), int(environment["WORLD_SIZE"])
    backend = "nccl" if device.type == "cuda" else "gloo"
    if "RANK" in os.environ:
        try:
            dist.init_process_group(backend, timeout=_PATIENCE)
        except ValueError as error:  # a variable that is missing
            raise InputError(f"RANK is set, so this is one of several processes, but: {error}") from None
    else:
        dist.init_process_group(backend, store=dist.HashStore(), rank=rank, world_size=processes)
    node = os.environ.get("SLURMD_NODENAME", platform.node())
    print(f"process {rank} of {processes} on {node}, {_name_of(device)}", flush=True)
    try:
        yield World(rank, processes, device, local)
    finally:
        dist.destroy_process_group()


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
        # Two jobs on a node meet at ports of their own.
        "MASTER_PORT": step.get("MASTER_PORT", str(20000 + int(step["SLURM_JOB_ID"]) % 20000)),
    }


def _scontrol(*arguments: str) -> str:
    asked = subprocess.run(["scontrol", *arguments], capture_output=True, text=True, check=False)
    if asked.returncode:
        command = f"scontrol {' '.join(arguments)}"
        raise InputError(f"{command}: {asked.stderr.strip()}; set MASTER_ADDR and MASTER_PORT")
    return asked.stdout
