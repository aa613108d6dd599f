"""The line on the console: where a run is, how it does, and how long it will take."""

import time
from collections.abc import Mapping
from datetime import timedelta

_EVERY = 5.0  # seconds between two lines


class Progress:
    """Prints at most one line every few seconds, readable in a terminal and in a scheduler's log alike."""

    def __init__(self, name: str, first: int, batch: int, processes: int) -> None:
        self.name, self.batch, self.processes = name, batch, processes
        self._printed, self._step, self._data_seconds, self._batch_seconds = time.monotonic(), first, 0.0, 0.0

    def step(self, values: Mapping[str, float]) -> None:
        """After a step, with the values of its event in the log (see `train`)."""
        self._data_seconds, self._batch_seconds = (
            self._data_seconds + values["data_seconds"],
            self._batch_seconds + values["batch_seconds"],
        )
        now, step, steps = time.monotonic(), int(values["step"]), int(values["steps"])
        if now - self._printed < _EVERY and step < steps:
            return
        made, elapsed = step - self._step, max(now - self._printed, 1e-9)
        speed = made * self.batch / elapsed  # validation and checkpoints included
        left = timedelta(seconds=round((steps - step) * elapsed / made))
        print(
            f"{self.name}: step {step:,}/{steps:,} epoch {values['epoch']:.2f}"
            f" | loss {values['loss']:.4f} 1/tau {values['inv_temperature']:.2f}"
            f" lr {values['learning_rate']:.2e}"
            f" | data {self._data_seconds / made:.3f} s batch {self._batch_seconds / made:.3f} s"
            f" | {speed:,.0f} samples/s ({speed / self.processes:,.0f} a process) | {left} left",
            flush=True,
        )
        self._printed, self._step, self._data_seconds, self._batch_seconds = now, step, 0.0, 0.0
