"""The processes that `torchrun` started: one per GPU, or gloo processes on a CPU."""

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
import torch.distributed as dist

from cloob.errors import InputError
from cloob.processes import end_with


@dataclass(frozen=True)
class World:
    """One process among all: its rank, their number, its device."""

    rank: int
    processes: int
    device: torch.device

    @property
    def first(self) -> bool:
        """Whether this is the process that writes files and prints."""
        return self.rank == 0

    def total(self, *values: float) -> list[float]:
        """The sums over all processes, the same in each."""
        sums = torch.tensor(values, dtype=torch.float64, device=self.device)
        dist.all_reduce(sums)
        return sums.tolist()


@contextmanager
def joined() -> Iterator[World]:
    """Join the process group of `torchrun` (alone: a group of one); leave it in any case."""
    alone = {"RANK": "0", "WORLD_SIZE": "1", "LOCAL_RANK": "0", "LOCAL_WORLD_SIZE": "1"}
    environment = {name: os.environ.get(name, default) for name, default in alone.items()}
    local = int(environment["LOCAL_RANK"])
    if "TORCHELASTIC_RUN_ID" in os.environ:
        # torchrun gives its processes sessions of their own: killed, it would leave them training.
        end_with(os.getppid(), signal.SIGKILL)
    if torch.cuda.is_available():
        if local >= torch.cuda.device_count():
            raise InputError(f"process {local} has no GPU: {torch.cuda.device_count()} are visible here")
        device = torch.device("cuda", local)
        torch.cuda.set_device(device)
    else:
        device = torch.device("cpu")
        # Snakemake grants threads to the job, not to each of its processes; more of them than cores spin.
        torch.set_num_threads(max(1, torch.get_num_threads() // int(environment["LOCAL_WORLD_SIZE"])))
    rank, processes = int(environment["RANK"]), int(environment["WORLD_SIZE"])
    backend = "nccl" if device.type == "cuda" else "gloo"
    if "MASTER_ADDR" in os.environ:
        dist.init_process_group(backend)
    else:
        dist.init_process_group(backend, store=dist.HashStore(), rank=rank, world_size=processes)
    try:
        yield World(rank, processes, device)
    finally:
        dist.destroy_process_group()
