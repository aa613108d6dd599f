"""Asked to stop (preemption, time limit), a run finishes its step, saves, and can go on later."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

import torch
import torch.distributed as dist

SIGNALS = (signal.SIGTERM, signal.SIGUSR1)


class StopRequest:
    """Whether any process of the run was asked to stop."""

    def __init__(self, device: torch.device) -> None:
        self._asked = torch.zeros((), device=device)

    def _ask(self, number: int, frame: FrameType | None) -> None:
        self._asked.fill_(1)

    def agreed(self) -> bool:
        """The same answer in all processes, between the same two steps: they stop together."""
        anywhere = self._asked.clone()
        dist.all_reduce(anywhere, op=dist.ReduceOp.MAX)
        return bool(anywhere)


@contextmanager
def stop_request(device: torch.device) -> Iterator[StopRequest]:
    """Take SIGTERM and SIGUSR1 as a request, until the end of the `with` block."""
    request = StopRequest(device)
    before = {number: signal.signal(number, request._ask) for number in SIGNALS}
    try:
        yield request
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
