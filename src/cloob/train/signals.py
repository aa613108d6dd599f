"""Graceful stop on SIGTERM or SIGUSR1 (preemption, time limit): finish the step, save a checkpoint, exit."""

import signal
from types import FrameType

_SIGNALS = (signal.SIGTERM, signal.SIGUSR1)


class StopRequest:
    """Whether this process received a signal to stop."""

    requested = False

    def _handle(self, number: int, frame: FrameType | None) -> None:
        self.requested = True


def graceful_stop() -> StopRequest:
    """Handle SIGTERM and SIGUSR1 as a stop request from now on, until the process has exited."""
    request = StopRequest()
    for number in _SIGNALS:
        signal.signal(number, request._handle)
    return request
