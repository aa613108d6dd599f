"""The process group of a run, started by `torchrun` or `srun`: one process per GPU, or gloo on CPUs."""

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
from cloob.train.rendezvous import RunIdentity, call_with_timeout, shared_store

# Timeout of collectives: one node may copy a terabyte of shards to its local disk, or the main process save a
# checkpoint, while the others wait. The launcher notices at once if a process died.
_TIMEOUT = timedelta(hours=6)


@dataclass(frozen=True)
class DistributedContext:
    """The place of a process in the process group, globally and on its node, and its device."""

    rank: int
    world_size: int
    device: torch.device
    local_rank: int = 0
    local_world_size: int = 1

    @property
    def is_main(self) -> bool:
        """Whether this is rank 0, which writes files and prints."""
        return self.rank == 0

    def all_reduce_sum(self, *values: float) -> list[float]:
        """The sum of each value over all processes, the same in every process."""
        if self.world_size == 1:
            return [float(value) for value in values]
        sums = torch.tensor(values, dtype=torch.float64, device=self.device)
        dist.all_reduce(sums)
        return sums.tolist()

    def barrier(self) -> None:
        """Wait until all processes get here."""
        self.all_reduce_sum(0.0)  # an all-reduce of an empty tensor would not wait

    def broadcast(self, value: Any) -> Any:
        """The value of rank 0, in every process."""
        values = [value]
        dist.broadcast_object_list(values, device=self.device)
        return values[0]


@contextmanager
def init_distributed(identity: RunIdentity | None = None) -> Iterator[DistributedContext]:
    """Join the process group of `torchrun` or `srun` (or a group of one process), and leave it at the end.

    Raises `InputError` if the processes do not connect, or if a process of another run than `identity` joins
    (see `shared_store`), and `PeerLostError` if another process fails within the block.
    """
    by_srun = "RANK" not in os.environ and _read_int("SLURM_STEP_NUM_TASKS", 1) > 1
    if by_srun:
        try:
            os.environ.update(_torchrun_variables(os.environ))
        except KeyError as missing:
            raise InputError(
                f"SLURM_STEP_NUM_TASKS is above 1, but {missing.args[0]} is not set; start the processes "
                "with srun, or set RANK and WORLD_SIZE"
            ) from None
    world_size, local_world_size = _read_int("WORLD_SIZE", 1), _read_int("LOCAL_WORLD_SIZE", 1)
    rank, local_rank = _read_int("RANK", 0), _read_int("LOCAL_RANK", 0)
    if rank >= world_size:
        raise InputError(f"RANK is {rank}, but WORLD_SIZE is {world_size}; ranks count from 0")
    device = _select_device(local_rank, local_world_size, by_srun)
    backend = "nccl" if device.type == "cuda" else "gloo"
    store = shared_store(rank, world_size, identity or {}) if "RANK" in os.environ else dist.HashStore()
    store.set_timeout(_TIMEOUT)
    store = dist.PrefixStore("default_pg", store)
    join = partial(
        dist.init_process_group, backend, store=store, rank=rank, world_size=world_size, timeout=_TIMEOUT
    )
    try:
        call_with_timeout(join)
    except (TimeoutError, RuntimeError) as error:
        if isinstance(error, RuntimeError) and (world_size == 1 or not _is_peer_failure(error)):
            raise
        raise PeerLostError(
            f"process {rank} of {world_size} lost the connection to another process at startup; see its "
            "error message"
        ) from None
    node = os.environ.get("SLURMD_NODENAME", platform.node())
    print(f"process {rank} of {world_size} on {node}, {_describe_device(device)}", flush=True)
    try:
        yield DistributedContext(rank, world_size, device, local_rank, local_world_size)
    except RuntimeError as error:
        if world_size > 1 and _is_peer_failure(error):
            reason = str(error).splitlines()[0]
            raise PeerLostError(
                f"process {rank} of {world_size} lost the connection to another process; see its error "
                f"message ({reason})"
            ) from None
        raise
    finally:
        # After an error, NCCL would wait for processes that may never respond; exiting closes everything.
        if backend == "gloo" or sys.exc_info()[0] is None:
            dist.destroy_process_group()


def _select_device(local_rank: int, local_world_size: int, by_srun: bool) -> torch.device:
    """The GPU of this process, or the CPU with its share of the threads."""
    if not torch.cuda.is_available():
        # Snakemake assigns threads to the job, not to each process; more threads than cores would be slow.
        torch.set_num_threads(max(1, torch.get_num_threads() // local_world_size))
        return torch.device("cpu")
    visible = torch.cuda.device_count()
    # With --gpus-per-task, each process sees only its own GPU.
    index = 0 if by_srun and visible == 1 else local_rank
    if index >= visible:
        raise InputError(f"process {local_rank} of this node has no GPU: only {visible} are visible")
    device = torch.device("cuda", index)
    torch.cuda.set_device(device)
    return device


def _describe_device(device: torch.device) -> str:
    if device.type == "cuda":
        return f"{device} ({torch.cuda.get_device_name(device)})"
    return f"{torch.get_num_threads()} CPU threads"


def _read_int(name: str, minimum: int) -> int:
    """The integer in an environment variable, `minimum` if it is not set. Raises `InputError`."""
    value = os.environ.get(name, str(minimum))
    if not value.isdecimal() or int(value) < minimum:
        raise InputError(f"{name} is {value!r}, not an integer of at least {minimum}; correct or unset it")
    return int(value)


def _is_peer_failure(error: RuntimeError) -> bool:
    """Whether an error of torch.distributed is the consequence of another process's failure."""
    return isinstance(error, dist.DistError) or "gloo" in str(error).lower()


def _torchrun_variables(slurm: Mapping[str, str]) -> dict[str, str]:
    """The variables that torchrun would set, from srun's; the rendezvous is on the first node of the step."""
    address = slurm.get("MASTER_ADDR")
    if address is None:
        first_node = _scontrol("show", "hostnames", slurm["SLURM_STEP_NODELIST"]).split()[0]
        properties = _scontrol("--oneliner", "show", "node", first_node).split()
        # A node name does not have to be a resolvable host name.
        address = next(
            (p.removeprefix("NodeAddr=") for p in properties if p.startswith("NodeAddr=")), first_node
        )
    return {
        "RANK": slurm["SLURM_PROCID"],
        "WORLD_SIZE": slurm["SLURM_STEP_NUM_TASKS"],
        "LOCAL_RANK": slurm["SLURM_LOCALID"],
        "LOCAL_WORLD_SIZE": slurm["SLURM_STEP_TASKS_PER_NODE"].split("(")[0].split(",")[0],
        "MASTER_ADDR": address,
        "MASTER_PORT": slurm.get("MASTER_PORT") or str(_step_port(slurm)),
    }


def _step_port(slurm: Mapping[str, str]) -> int:
    """A port per job step, below Linux's ephemeral ports, so that steps on the same node do not collide."""
    step = f"{slurm['SLURM_JOB_ID']}.{slurm.get('SLURM_STEP_ID', '0')}"
    return 20000 + zlib.crc32(step.encode()) % 12768


def _scontrol(*arguments: str) -> str:
    command = ["scontrol", *arguments]
    try:
        completed = subprocess.run(command, capture_output=True, text=True, check=True, timeout=300)
    except subprocess.CalledProcessError as error:
        reason = error.stderr.strip()
    except (OSError, subprocess.TimeoutExpired) as error:
        reason = getattr(error, "strerror", None) or "no response"
    else:
        return completed.stdout
    raise InputError(f"{' '.join(command)}: {reason}; set MASTER_ADDR and MASTER_PORT")
