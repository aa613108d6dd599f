"""The log of a run, cut back to the checkpoint when it resumes: JSON lines, TensorBoard, W&B if asked."""

import json
from pathlib import Path
from typing import Any

from torch.utils.tensorboard import SummaryWriter

from cloob.errors import InputError
from cloob.files import replacing

_PLOTTED = ("step", "validation")


class Metrics:
    """Appends events to a JSON-lines file, and numbers to `tensorboard/` beside it.

    On opening, what came after `samples_seen` pairs is dropped: those steps will be made again. With
    `wandb_project`, the numbers go to Weights & Biases too, under the run's `name`; raises `InputError`
    where wandb is not installed.
    """

    def __init__(self, path: Path, samples_seen: int, wandb_project: str = "", name: str = "") -> None:
        self._wandb = _wandb_run(wandb_project, name, path.parent) if wandb_project else None
        kept = []
        if samples_seen and path.exists():
            for line in path.read_text(encoding="utf-8").splitlines():
                try:
                    event = json.loads(line)
                except json.JSONDecodeError:  # the line that a kill tore
                    break
                if event["samples_seen"] > samples_seen:
                    break
                kept.append(line + "\n")
        with replacing(path) as beside:
            beside.write_text("".join(kept), encoding="utf-8")
        self._file = path.open("a", encoding="utf-8")
        self._tensorboard = SummaryWriter(path.parent / "tensorboard", purge_step=samples_seen + 1)

    def write(self, event: str, samples_seen: int, **values: Any) -> None:
        """Append one event; as a JSON line it is on disk when this returns."""
        record = {"event": event, "samples_seen": samples_seen, **values}
        self._file.write(json.dumps(record) + "\n")
        self._file.flush()
        if event in _PLOTTED:
            for name, value in values.items():
                self._tensorboard.add_scalar(f"{event}/{name}", value, samples_seen)
            if self._wandb:
                self._wandb.log({f"{event}/{name}": value for name, value in values.items()}, samples_seen)

    def close(self) -> None:
        """Close the files."""
        self._file.close()
        self._tensorboard.close()
        if self._wandb:
            self._wandb.finish()


def _wandb_run(project: str, name: str, folder: Path) -> Any:
    try:
        import wandb
    except ImportError:
        raise InputError(f"W&B project {project}: wandb is not installed; pip install wandb") from None
    return wandb.init(project=project, name=name, id=name, resume="allow", dir=folder)
