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
    data_seconds: float
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
        self._copied: torch.cuda.Event | None = None
        if values.is_cuda:
            pinned = torch.empty(values.shape, dtype=values.dtype, pin_memory=True)
            pinned.copy_(values, non_blocking=True)
            self._copied = torch.cuda.current_stream(values.device).record_event()
            values = pinned
        self._values = values
        self._read: StepNumbers | None = None

    def read(self) -> StepNumbers:
        """Wait until the step is finished."""
        if self._read is None:
            if self._copied is not None:
                self._copied.synchronize()
            loss, inv_temperature, *counts = self._values.tolist()
            self._read = StepNumbers(loss, inv_temperature, Counts(*counts))
        return self._read
