"""Console progress: current step, loss, speed and remaining time."""

import time
from collections.abc import Mapping
from datetime import timedelta

_SECONDS_BETWEEN_LINES = 5.0


class Progress:
    """Prints at most one line every few seconds, readable in a terminal and in a scheduler's log."""

    def __init__(self, name: str, first_step: int, batch_size: int, processes: int) -> None:
        self.name, self.batch_size, self.processes = name, batch_size, processes
        self._reset(time.monotonic(), first_step)

    def _reset(self, now: float, step: int) -> None:
        self._printed, self._step, self._data_seconds, self._batch_seconds = now, step, 0.0, 0.0

    def update(self, values: Mapping[str, float]) -> None:
        """Call after a step, with the values of its event in the log (see `cloob.train.loop`)."""
        self._data_seconds += values["data_seconds"]
        self._batch_seconds += values["batch_seconds"]
        now, step, steps = time.monotonic(), int(values["step"]), int(values["steps"])
        if now - self._printed < _SECONDS_BETWEEN_LINES and step < steps:
            return
        steps_done, elapsed = step - self._step, max(now - self._printed, 1e-9)
        speed = steps_done * self.batch_size / elapsed  # including validation and checkpoints
        remaining = timedelta(seconds=round((steps - step) * elapsed / steps_done))
        print(
            f"{self.name}: step {step:,}/{steps:,} epoch {values['epoch']:.2f}"
            f" | loss {values['loss']:.4f} 1/tau {values['inv_temperature']:.2f}"
            f" lr {values['learning_rate']:.2e}"
            f" | data {self._data_seconds / steps_done:.3f} s batch {self._batch_seconds / steps_done:.3f} s"
            f" | {speed:,.0f} samples/s ({speed / self.processes:,.0f} per process) | {remaining} left",
            flush=True,
        )
        self._reset(now, step)
