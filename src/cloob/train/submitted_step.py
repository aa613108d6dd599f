"""A training step whose work is submitted to the device; its numbers are read without stopping the device."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
import torch.distributed as dist
from torch import Tensor

from cloob.train.distributed import DistributedContext


class StepNumbers(NamedTuple):
    """What the loop needs to know of a step, the same in every process."""

    loss: float
    inv_temperature: float
    stop_requests: float
    """Number of processes that are to stop."""
    replaced: float
    """Replaced pairs of the global batch."""
    checkpoint_due: float
    """Whether the main process is to save a checkpoint."""


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
    """`StepNumbers` that are being computed and copied: `scalars` on the device, `counts` of this process.

    The counts are summed over the processes.
    """

    def __init__(
        self, scalars: Sequence[Tensor], counts: Sequence[float], context: DistributedContext
    ) -> None:
        values = torch.stack([scalar.detach().double() for scalar in scalars])
        self._known: list[float] = []
        if context.world_size == 1:
            self._known = [float(count) for count in counts]
        else:
            cuda = context.device.type == "cuda"
            local = torch.tensor(counts, dtype=torch.float64, pin_memory=cuda)
            summed = local.to(context.device, non_blocking=True)
            dist.all_reduce(summed)
            values = torch.cat([values, summed])
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
            self._read = StepNumbers(*self._values.tolist(), *self._known)
        return self._read
