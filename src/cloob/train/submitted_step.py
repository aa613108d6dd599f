"""A training step whose work is submitted to the device; its numbers are read without stopping the device."""

from dataclasses import dataclass
from typing import NamedTuple

import torch
import torch.distributed as dist
from torch import Tensor

from cloob.train.distributed import DistributedContext


class Counts(NamedTuple):
    """Counts of one process, or their sums over all processes."""

    replaced: float
    """Replaced pairs."""
    stop_requests: float = 0
    """Processes that are to stop."""
    checkpoints_due: float = 0
    """Processes (at most the main one) that are to save a checkpoint."""


@dataclass(frozen=True)
class DataWait:
    """A wait of the host for data. Meanwhile, the device may still compute the step before."""

    host_seconds: float
    finished: torch.cuda.Event | None
    """When the device finished the step before; None on a CPU, and if the host had waited for it already."""
    started: torch.cuda.Event | None
    """When the device started the step that the data is for; None on a CPU."""

    def device_seconds(self) -> float:
        """The part of the wait in which the device had nothing to compute.

        Only after the numbers of both steps were read: both events are then complete, and nothing waits.
        """
        if self.finished is None or self.started is None:
            return self.host_seconds
        return min(self.host_seconds, self.finished.elapsed_time(self.started) / 1000)


class StepNumbers(NamedTuple):
    """What the loop needs to know of a step, the same in every process."""

    loss: float
    inv_temperature: float
    counts: Counts


@dataclass
class SubmittedStep:
    """A step (0-based `number`) after which `samples_seen` pairs were seen; `replaced` pairs are local."""

    number: int
    samples_seen: int
    learning_rate: float
    replaced: list[int]
    wait: DataWait
    numbers: "NumbersOnTheirWay"
    batch_seconds: float = 0.0


class NumbersOnTheirWay:
    """`StepNumbers` that are being computed and copied.

    `partial_loss` is this process's part of the loss. One all-reduce sums the parts and the `counts`.
    """

    def __init__(
        self, partial_loss: Tensor, inv_temperature: Tensor, counts: Counts, context: DistributedContext
    ) -> None:
        local = torch.tensor(counts, dtype=torch.float64, pin_memory=context.device.type == "cuda")
        sums = torch.cat([partial_loss.double().view(1), local.to(context.device, non_blocking=True)])
        if context.world_size > 1:
            dist.all_reduce(sums)
        loss = sums[:1].to(partial_loss.dtype).double()  # as a sum in the precision of the loss
        values = torch.cat([loss, inv_temperature.double().view(1), sums[1:]])
        if values.is_cuda:
            pinned = torch.empty(values.shape, dtype=values.dtype, pin_memory=True)
            pinned.copy_(values, non_blocking=True)
            values = pinned
        self._values = values
        self.finished = timing_event(context.device)
        """When the device has computed and copied the numbers; None on a CPU."""
        self._read: StepNumbers | None = None

    def read(self) -> StepNumbers:
        """Wait until the step is finished."""
        if self._read is None:
            if self.finished is not None:
                self.finished.synchronize()
            loss, inv_temperature, *counts = self._values.tolist()
            self._read = StepNumbers(loss, inv_temperature, Counts(*counts))
        return self._read


def timing_event(device: torch.device) -> torch.cuda.Event | None:
    """An event after the work submitted to the device so far, with its time; None on a CPU."""
    if device.type != "cuda":
        return None
    event = torch.cuda.Event(enable_timing=True)
    event.record(torch.cuda.current_stream(device))
    return event
