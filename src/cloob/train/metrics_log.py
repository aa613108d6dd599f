"""The log of a run: JSON lines, TensorBoard and optionally W&B; truncated to the checkpoint on resume."""

import json
import os
import threading
from pathlib import Path
from typing import Any

from torch.utils.tensorboard import SummaryWriter

from cloob.common.atomic_files import atomic_write
from cloob.common.errors import InputError, io_errno, io_errors_at
from cloob.common.json_lines import STEP, parse_event
from cloob.train.log_position import position_after

# Steps between the points of TensorBoard and W&B: every step of a long run would take 400 MB.
STEPS_BETWEEN_POINTS = 50


class MetricsLog:
    """Appends events to a JSON-lines file, and their numbers to `tensorboard/` beside it.

    TensorBoard shows validations, the first step and every `STEPS_BETWEEN_POINTS`-th; the file has all.

    Opening it drops the events after `samples_seen`, because those steps will be repeated, and warns if
    the log ends before it. With `wandb_project`, the numbers are also logged to Weights & Biases, under the
    run's `name`; raises `InputError` if wandb is not installed.
    """

    def __init__(self, path: Path, samples_seen: int, wandb_project: str = "", name: str = "") -> None:
        self._wandb = _wandb_run(wandb_project, name, path.parent) if wandb_project else None
        logged, state = 0, "is missing"
        if samples_seen and path.exists():
            logged = _truncate(path, samples_seen)
            state = f"ends after {logged:,} pairs"
        else:
            with atomic_write(path) as temporary:
                temporary.write_bytes(b"")
        if logged < samples_seen:
            print(
                f"warning: {path}: {state}, but the checkpoint is after {samples_seen:,}: tables and figures "
                f"will lack the steps in between; if you need them, delete {path.parent} and train again",
                flush=True,
            )
        self._path, self._file = path, path.open("a", encoding="utf-8")
        threading.excepthook = _ignore_io_errors
        with io_errors_at(path.parent / "tensorboard"):
            self._tensorboard = SummaryWriter(path.parent / "tensorboard", purge_step=samples_seen + 1)

    def write(self, event: str, samples_seen: int, **values: Any) -> None:
        """Append an event. The system has its JSON line when this returns, the disk after `sync`."""
        record = {"event": event, "samples_seen": samples_seen, **values}
        with io_errors_at(self._path):
            self._file.write(json.dumps(record) + "\n")
            self._file.flush()
        if _is_plotted(event, values):
            with io_errors_at(self._path.parent / "tensorboard"):
                for name, value in values.items():
                    self._tensorboard.add_scalar(f"{event}/{name}", value, samples_seen)
            if self._wandb:
                self._wandb.log({f"{event}/{name}": value for name, value in values.items()}, samples_seen)

    def sync(self) -> None:
        """Wait until the disk has all lines, before a checkpoint is saved: resuming from it needs them."""
        with io_errors_at(self._path):
            os.fsync(self._file.fileno())

    def close(self) -> None:
        """Close the files."""
        with io_errors_at(self._path):
            self._file.close()
        with io_errors_at(self._path.parent / "tensorboard"):
            self._tensorboard.close()
        if self._wandb:
            self._wandb.finish()


def validated_on(path: Path, samples_seen: int) -> str | None:
    """The `validation_sha256` of the last validation after `samples_seen` pairs.

    A start logs it for the validations that follow. None if there is none, as in logs of older versions.
    """
    pairs, found = None, None
    with io_errors_at(path), path.open("rb") as log:
        for line in log:
            event = None if line.startswith(STEP) else parse_event(line)
            if event is not None and event["event"] == "start":
                pairs = event.get("validation_sha256")
            elif event is not None and event["event"] == "validation":
                found = pairs if event.get("samples_seen") == samples_seen else found
    return found


def _ignore_io_errors(failure: threading.ExceptHookArgs) -> None:
    """Suppress the traceback of an I/O error in TensorBoard's thread; the next call raises the error."""
    if failure.exc_value is None or io_errno(failure.exc_value) is None:
        threading.__excepthook__(failure)


def _is_plotted(event: str, values: dict[str, Any]) -> bool:
    """Whether TensorBoard and W&B show an event."""
    if event == "step":
        return values["step"] == 1 or values["step"] % STEPS_BETWEEN_POINTS == 0
    return event == "validation"


def _truncate(path: Path, samples_seen: int) -> int:
    """Drop the events after a checkpoint, and an incomplete last line; with a warning also damaged lines.

    Returns the `samples_seen` of the last event that is left.
    """
    with io_errors_at(path):
        with path.open("rb") as log:
            found = position_after(log, samples_seen)
        if found is not None:
            position, last = found
            os.truncate(path, position)
            return last
    events, last = _events_until(path, samples_seen)
    with atomic_write(path) as temporary:
        temporary.write_bytes(b"".join(events))
    return last


def _events_until(path: Path, samples_seen: int) -> tuple[list[bytes], int]:
    """The lines up to a checkpoint, and the `samples_seen` of the last one.

    The last line of the log may be incomplete, if the process was killed.

    Damaged lines before it are reported in a warning and dropped; the original log is copied to `*.damaged`.
    """
    with io_errors_at(path):
        lines = path.read_bytes().split(b"\n")
    valid, damaged, last = [], [], 0
    for number, line in enumerate(lines, start=1):
        event = parse_event(line)
        if event is None:
            if number < len(lines) and line.strip():
                damaged.append(number)
        elif (seen := event.get("samples_seen", 0)) > samples_seen:
            break
        else:
            valid.append(line + b"\n")
            last = seen
    if damaged:
        backup = path.with_suffix(".jsonl.damaged")
        with atomic_write(backup) as temporary:
            temporary.write_bytes(b"\n".join(lines))
        numbers = ", ".join(map(str, damaged[:10])) + (" …" if len(damaged) > 10 else "")
        print(f"warning: {path}: dropped damaged line {numbers}; see {backup.name}", flush=True)
    return valid, last


def _wandb_run(project: str, name: str, folder: Path) -> Any:
    try:
        import wandb
    except ImportError:
        raise InputError(f"W&B project {project}: wandb is not installed; pip install wandb") from None
    return wandb.init(project=project, name=name, id=name, resume="allow", dir=folder)
