"""The logs of training runs (metrics.jsonl), read as files: who trained, on what, how fast, how saturated."""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from cloob.common.errors import InputError, io_errors_at
from cloob.report.load.form import ANYTHING, NUMBER, parse, wrong
from cloob.report.load.result_file import RUN
from cloob.report.names import check_objective

_STEP = ["step", "data_seconds", "batch_seconds", "samples_per_second"]
_POSITIVE = ("step", "batch_seconds", "samples_per_second", "processes")
_EVENTS: dict[str, dict[str, Any]] = {
    "start": {
        "?run": dict.fromkeys(("name", *RUN), (str,)) | {"seed": (int,), "*": ANYTHING},
        "?processes": (int,),
        "?device": (str,),
        "?pairs": (int,),
        "?restarts": (int,),
        "?commit": (str, type(None)),
        "?corpus_sha256": (str,),
        "?urls_sha256": (str, type(None)),
        "?torch": (str,),
        "*": ANYTHING,
    },
    "step": {f"?{key}": NUMBER for key in (*_STEP, "epoch", "loss", "learning_rate")} | {"*": ANYTHING},
    "validation": {
        **{f"?{key}": NUMBER for key in ("epoch", "saturation", "image_to_text_r1", "text_to_image_r1")},
        "*": ANYTHING,
    },
}
_REMEDY = "restore the file, delete this line (its event is then left out), or train the run again"


@dataclass(frozen=True)
class Log:
    """One run's log. `steps` has a row per step, with the processes and device that it was made on."""

    path: Path
    run: dict[str, Any]
    starts: Sequence[dict[str, Any]]  # the first one, and one for each time that it was resumed
    steps: pd.DataFrame
    validations: Sequence[dict[str, Any]]

    @property
    def hours(self) -> float:
        """Hours in steps, waiting for data included, validation and start not."""
        return float(self.steps.batch_seconds.sum()) / 3600

    @property
    def config_sha256(self) -> str:
        """The hash of what decides the run: its row of the grid, recipe and model, as sorted JSON."""
        decisive = {key: self.starts[-1][key] for key in ("run", "recipe", "model_config")}
        return hashlib.sha256(json.dumps(decisive, sort_keys=True).encode()).hexdigest()


def read_log(path: Path) -> Log:
    """Read the log of a run. Raises `InputError` for what `cloob train` does not write."""
    events = read_events(path, start=("run", "processes", "device"), step=_STEP, validation=["epoch"])
    starts, steps, validations = [], [], []
    for event in events:
        if event["event"] == "start":
            starts.append(event)
        elif event["event"] == "step":
            # A run may go on with other processes than it began with.
            where = (starts[-1]["processes"], starts[-1]["device"])
            steps.append([*(event[key] for key in _STEP), *where])
        elif event["event"] == "validation":
            validations.append(event)
    run = {key: starts[-1]["run"][key] for key in ("name", *RUN)}
    return Log(path, run, starts, pd.DataFrame(steps, columns=[*_STEP, "processes", "device"]), validations)


def read_events(path: Path, **needs: Sequence[str]) -> list[dict[str, Any]]:
    """The events of a log: first a start with its run, and at least one step.

    `needs` are the keys that a kind of event (`start`, `step`, `validation`) has at least. Raises
    `InputError`, with the number of the line.
    """
    forms = {
        kind: form | {key: form.get(f"?{key}", ANYTHING) for key in needs.get(kind, ())}
        for kind, form in _EVENTS.items()
    }
    events: list[dict[str, Any]] = []
    try:
        with io_errors_at(path), path.open("rb") as log:
            for number, line in enumerate(log, start=1):
                events.append(_event(line, forms, f"{path}, line {number}"))
    except FileNotFoundError:
        raise InputError(f"{path}: no such log; `cloob train` writes it") from None
    if not events or events[0]["event"] != "start" or "run" not in events[0]:
        raise InputError(
            f"{path}: not a log of `cloob train`: it does not begin with a start; train the run again"
        )
    if not any(event["event"] == "step" for event in events):
        raise InputError(f"{path}: the log has no training step; train the run again")
    return events


def _event(line: bytes, forms: dict[str, Any], where: str) -> dict[str, Any]:
    try:
        event = parse(line)
    except ValueError as error:
        raise InputError(f"{where}: a line is not JSON ({error}); {_REMEDY}") from None
    found = wrong(event, {"event": (str,), "*": ANYTHING})
    if found is None and (form := forms.get(event["event"])) is not None:
        run = event.get("run")
        if isinstance(run, dict) and isinstance(run.get("objective"), str):
            check_objective(run["objective"], where)
        found = wrong(event, form)
        positive = [key for key in _POSITIVE if found is None and key in event and event[key] <= 0]
        found = f"{positive[0]} is {event[positive[0]]}" if positive else found
    if found is not None:
        raise InputError(f"{where}: not a log of `cloob train`: {found}; {_REMEDY}")
    return event
