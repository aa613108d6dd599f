"""The logs of training runs (metrics.jsonl), read as files: who trained, on what, how fast, how saturated."""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from cloob.errors import InputError, naming
from cloob.events import parse_event
from cloob.report.names import check_objective

RUN = ["corpus", "architecture", "objective", "recipe", "seed"]
_STEP = ["step", "data_seconds", "batch_seconds", "samples_per_second"]


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
    """Read the log of a run. Raises `InputError` for what `cloob train run` does not write."""
    events = read_events(path)
    starts, steps, validations = [], [], []
    try:
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
        check_objective(run["objective"], path)
        table = pd.DataFrame(steps, columns=[*_STEP, "processes", "device"])
    except (KeyError, TypeError, IndexError) as error:
        raise InputError(f"{path}: not a log of `cloob train run` ({error!r}); train the run again") from None
    if table.empty:
        raise InputError(f"{path}: the log has no training step; train the run again")
    return Log(path, run, starts, table, validations)


def read_events(path: Path) -> list[dict[str, Any]]:
    """The events of a log as they stand. Raises `InputError`."""
    try:
        with naming(path):
            lines = path.read_bytes().splitlines()
    except FileNotFoundError:
        raise InputError(f"{path}: no such log; `cloob train run` writes it") from None
    events = []
    for number, line in enumerate(lines, start=1):
        event = parse_event(line)
        if event is None:
            raise InputError(
                f"{path}: line {number} is not JSON of an event, the file was damaged; restore it "
                "(a copy may be in checkpoints/ of the run), or train the run again"
            )
        events.append(event)
    return events
