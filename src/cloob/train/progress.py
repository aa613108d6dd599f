"""The line on the console: where a run is, how it does, and how long it will take."""

import time
from datetime import timedelta

_EVERY = 5.0  # seconds between two lines


class Progress:
    """Prints at most one line every few seconds, readable in a terminal and in a scheduler's log alike."""

    def __init__(
        self, name: str, *, first: int, steps: int, steps_per_epoch: int, batch: int, processes: int
    ):
        self.name, self.steps, self.steps_per_epoch = name, steps, steps_per_epoch
        self.batch, self.processes = batch, processes
        self._printed, self._step, self._data, self._working = time.monotonic(), first, 0.0, 0.0

    def step(
        self, step: int, *, loss: float, inverse_temperature: float, rate: float, data: float, working: float
    ) -> None:
        """Step `step` (from 1) took `data` seconds of waiting for pairs and `working` seconds beside."""
        self._data, self._working = self._data + data, self._working + working
        now = time.monotonic()
        if now - self._printed < _EVERY and step < self.steps:
            return
        made, elapsed = step - self._step, max(now - self._printed, 1e-9)
        speed = made * self.batch / elapsed  # validation and checkpoints included
        left = timedelta(seconds=round((self.steps - step) * elapsed / made))
        print(
            f"{self.name}: step {step:,}/{self.steps:,} epoch {step / self.steps_per_epoch:.2f}"
            f" | loss {loss:.4f} 1/tau {inverse_temperature:.2f} lr {rate:.2e}"
            f" | data {self._data / made:.3f} s batch {(self._data + self._working) / made:.3f} s"
            f" | {speed:,.0f} samples/s ({speed / self.processes:,.0f} a process) | {left} left",
            flush=True,
        )
        self._printed, self._step, self._data, self._working = now, step, 0.0, 0.0
