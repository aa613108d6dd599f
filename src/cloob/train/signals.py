"""Asked to stop (preemption, time limit), a run finishes its step, saves, and can go on later."""

import signal
from types import FrameType

_SIGNALS = (signal.SIGTERM, signal.SIGUSR1)


class StopRequest:
    """Whether this process was asked to stop."""

    asked = False

    def _ask(self, number: int, frame: FrameType | None) -> None:
        self.asked = True


def stop_request() -> StopRequest:
    """Take SIGTERM and SIGUSR1 as a request for the rest of this process, even while it ends."""
    request = StopRequest()
    for number in _SIGNALS:
        signal.signal(number, request._ask)
    return request
