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
    """Handle SIGTERM and SIGUSR1 as a stop request from now on."""
    request = StopRequest()
    for number in _SIGNALS:
        signal.signal(number, request._handle)
    return request


def ignore_stop_signals() -> None:
    """Ignore SIGTERM and SIGUSR1 from now on, in a process that has finished its run.

    While the interpreter exits, which takes a second, handlers are replaced by the default action: the status
    would be that of a failure.
    """
    for number in _SIGNALS:
        signal.signal(number, signal.SIG_IGN)
