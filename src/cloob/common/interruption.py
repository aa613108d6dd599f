"""Ctrl-C (SIGINT): a process ends with status 130, whatever it was doing."""

import os
import signal
import sys
from contextlib import suppress
from types import FrameType, TracebackType
from typing import NoReturn

STATUS = 128 + signal.SIGINT


class Interruption:
    """In its `with` block, SIGINT raises `KeyboardInterrupt`, and `received` is True from then on.

    The exception may be raised anywhere: in a callback, such as `__del__` or after a fork, where Python
    ignores it, or in a library that fails with another one on the way out. In a callback, the process exits
    at once, as after a second SIGINT (also after the `with` block), and later errors in callbacks are not
    printed. A caller has to treat every exception as an interruption if `received`.

    Does nothing where SIGINT is ignored or handled already, as in a background job of a shell.
    """

    def __init__(self, command: str) -> None:
        self.command = command
        self.received = False
        self._reported = False

    def __enter__(self) -> "Interruption":
        self._installed = signal.getsignal(signal.SIGINT) is signal.default_int_handler
        if self._installed:
            self._ignored_exception = sys.unraisablehook
            sys.unraisablehook = self._on_ignored_exception
            signal.signal(signal.SIGINT, self._on_signal)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if not self._installed:
            return
        if self.received:
            signal.signal(signal.SIGINT, self._on_signal)  # a launcher may have replaced it
        else:
            signal.signal(signal.SIGINT, signal.default_int_handler)
            sys.unraisablehook = self._ignored_exception

    def report(self) -> None:
        """Print the last line of the process, unless the program that read its output has exited."""
        if self._reported:
            return
        self._reported = True
        with suppress(OSError):
            print(f"{self.command}: interrupted", file=sys.stderr, flush=True)

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        if self.received:
            self._exit()
        self.received = True
        raise KeyboardInterrupt

    def _on_ignored_exception(self, ignored: "sys.UnraisableHookArgs") -> None:
        if issubclass(ignored.exc_type, KeyboardInterrupt):
            self._exit()
        if not self.received:
            self._ignored_exception(ignored)

    def _exit(self) -> NoReturn:
        """Without cleanup: children die with this process, and the next one deletes temporary files."""
        with suppress(RuntimeError):  # the signal came while the main program was writing to stderr
            self.report()
        os._exit(STATUS)
