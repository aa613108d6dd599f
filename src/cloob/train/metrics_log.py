"""The log of a run, cut back to the checkpoint when it resumes: JSON lines, TensorBoard, W&B if asked."""

import json
import threading
from pathlib import Path
from typing import Any

from torch.utils.tensorboard import SummaryWriter

from cloob.common.atomic_files import atomic_write
from cloob.common.errors import InputError, io_errno, io_errors_at
from cloob.common.json_lines import parse_event

_PLOTTED = ("step", "validation")


class Metrics:
    """Appends events to a JSON-lines file, and numbers to `tensorboard/` beside it.

    On opening, what came after `samples_seen` pairs is dropped: those steps will be made again. With
    `wandb_project`, the numbers go to Weights & Biases too, under the run's `name`; raises `InputError`
    where wandb is not installed.
    """

    def __init__(self, path: Path, samples_seen: int, wandb_project: str = "", name: str = "") -> None:
        self._wandb = _wandb_run(wandb_project, name, path.parent) if wandb_project else None
        kept = _events_before(path, samples_seen) if samples_seen and path.exists() else []
        with atomic_write(path) as beside:
            beside.write_bytes(b"".join(kept))
        self._path, self._file = path, path.open("a", encoding="utf-8")
        threading.excepthook = _except_io_errors
        with io_errors_at(path.parent / "tensorboard"):
            self._tensorboard = SummaryWriter(path.parent / "tensorboard", purge_step=samples_seen + 1)

    def write(self, event: str, samples_seen: int, **values: Any) -> None:
        """Append one event; as a JSON line it is on disk when this returns."""
        record = {"event": event, "samples_seen": samples_seen, **values}
        with io_errors_at(self._path):
            self._file.write(json.dumps(record) + "\n")
            self._file.flush()
        if event in _PLOTTED:
            with io_errors_at(self._path.parent / "tensorboard"):
                for name, value in values.items():
                    self._tensorboard.add_scalar(f"{event}/{name}", value, samples_seen)
            if self._wandb:
                self._wandb.log({f"{event}/{name}": value for name, value in values.items()}, samples_seen)

    def close(self) -> None:
        """Close the files."""
        with io_errors_at(self._path):
            self._file.close()
        with io_errors_at(self._path.parent / "tensorboard"):
            self._tensorboard.close()
        if self._wandb:
            self._wandb.finish()


def _except_io_errors(failed: threading.ExceptHookArgs) -> None:
    """TensorBoard's thread keeps an error of writing for our next call, which raises it."""
    if failed.exc_value is None or io_errno(failed.exc_value) is None:
        threading.__excepthook__(failed)


def _events_before(path: Path, samples_seen: int) -> list[bytes]:
    """The lines up to the checkpoint. The last line may be torn: that is where a kill came.

    A damaged line before it is named in a warning and left out; the log as it was is copied to `*.damaged`.
    """
    with io_errors_at(path):
        lines = path.read_bytes().split(b"\n")
    kept, damaged = [], []
    for number, line in enumerate(lines, start=1):
        event = parse_event(line)
        if event is None:
            if number < len(lines) and line.strip():
                damaged.append(number)
        elif event.get("samples_seen", 0) > samples_seen:
            break
        else:
            kept.append(line + b"\n")
    if damaged:
        aside = path.with_suffix(".jsonl.damaged")
        with atomic_write(aside) as beside:
            beside.write_bytes(b"\n".join(lines))
        listed = ", ".join(map(str, damaged[:10])) + (" …" if len(damaged) > 10 else "")
        print(
            f"warning: {path}: damaged in line {listed}, which is left out; see {aside.name}",
            flush=True,
        )
    return kept


def _wandb_run(project: str, name: str, folder: Path) -> Any:
    try:
        import wandb
    except ImportError:
        raise InputError(f"W&B project {project}: wandb is not installed; pip install wandb") from None
    return wandb.init(project=project, name=name, id=name, resume="allow", dir=folder)
