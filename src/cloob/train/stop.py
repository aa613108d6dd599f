"""Asked to stop (preemption, time limit), a run finishes its step, saves, and can go on later."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

SIGNALS = (signal.SIGTERM, signal.SIGUSR1)


class StopRequest:
    """Whether this process was asked to stop."""

    asked = False

    def _ask(self, number: int, frame: FrameType | None) -> None:
        self.asked = True


@contextmanager
def shielded() -> Iterator[None]:
    """Block the signals; processes and threads that start meanwhile never see them.

    A scheduler signals all processes of a job, but a loader's have to feed the step that is to be finished.
    """
    before = signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


@contextmanager
def stop_request() -> Iterator[StopRequest]:
    """Take SIGTERM and SIGUSR1 as a request, until the end of the `with` block."""
    request = StopRequest()
    before = {number: signal.signal(number, request._ask) for number in SIGNALS}
    try:
        yield request
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
