"""Training logs (metrics.jsonl): identity and hardware of a run, its speed, losses and validation metrics."""

import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from cloob.common.errors import InputError, io_errors_at
from cloob.report.load.json_checks import ANYTHING, NUMBER, parse_json, type_error
from cloob.report.load.result_files import RUN_KEYS
from cloob.report.names import check_objective
from cloob.report.stats.throughput import rates_per_process

_TIMING = ("samples_per_second", "data_seconds", "batch_seconds")
_POSITIVE = ("step", "batch_seconds", "samples_per_second", "processes")
_EVENTS: dict[str, dict[str, Any]] = {
    "start": {
        "?run": dict.fromkeys(("name", *RUN_KEYS), (str,)) | {"seed": (int,), "*": ANYTHING},
        "?recipe": {"*": ANYTHING},
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
    "step": {f"?{key}": NUMBER for key in (*_TIMING, "step", "epoch", "loss", "learning_rate")}
    | {"*": ANYTHING},
    "validation": {
        **{f"?{key}": NUMBER for key in ("epoch", "saturation", "image_to_text_r1", "text_to_image_r1")},
        "*": ANYTHING,
    },
}
_REMEDY = "restore the file, delete this line (its event is then left out), or train the run again"


@dataclass(frozen=True)
class Log:
    """The log of one run.

    `starts` has the first start and one per resume. `steps` has a row per step: the requested columns and the
    `processes` and `device` that it ran on (a run may resume with others).
    """

    path: Path
    run: dict[str, Any]
    starts: Sequence[dict[str, Any]]
    steps: pd.DataFrame
    validations: Sequence[dict[str, Any]]

    @property
    def identity(self) -> dict[str, Any]:
        """The keys of `RUN_KEYS`."""
        return {key: self.run[key] for key in RUN_KEYS}

    @property
    def hours(self) -> float:
        """Hours in steps, including waiting for data, without start-up and validation."""
        return float(self.steps.batch_seconds.sum()) / 3600

    @property
    def config_sha256(self) -> str:
        """SHA-256 of the run's identity, recipe and model configuration as sorted JSON."""
        config = {key: self.starts[-1][key] for key in ("run", "recipe", "model_config")}
        return hashlib.sha256(json.dumps(config, sort_keys=True).encode()).hexdigest()


def read_log(
    path: Path,
    start: Sequence[str] = (),
    step: Sequence[str] = (),
    validation: Sequence[str] = ("epoch",),
) -> Log:
    """Read the log of a run; the arguments name the keys that each kind of event must have.

    Raises `InputError` with the number of the first invalid line.
    """
    events = _read_events(path, {"start": start, "step": step, "validation": validation})
    starts, steps, validations = [], [], []
    processes, device = 1, None
    for event in events:
        if event["event"] == "start":
            starts.append(event)
            processes, device = event.get("processes", processes), event.get("device", device)
        elif event["event"] == "step":
            steps.append([*(event[key] for key in step), processes, device])
        elif event["event"] == "validation":
            validations.append(event)
    run = next(event["run"] for event in reversed(starts) if "run" in event)
    table = pd.DataFrame(steps, columns=[*step, "processes", "device"])
    if "samples_per_second" in step:
        table["rate_per_process"] = rates_per_process(events)
    return Log(path, run, starts, table, validations)


def read_timed_log(path: Path, start: Sequence[str] = ("run", "processes", "device")) -> Log:
    """Read a log with the timing of every step, and `rate_per_process`: pairs per second and process."""
    return read_log(path, start=start, step=_TIMING)


def read_logs(
    paths: Sequence[Path], step: Sequence[str] = (), validation: Sequence[str] = ("epoch",)
) -> Iterator[Log]:
    """The logs in the order of their paths; for the arguments see `read_log`. Raises `InputError`."""
    check_logs_given(paths)
    return (read_log(path, step=step, validation=validation) for path in sorted(paths))


def check_logs_given(paths: Sequence[Path]) -> None:
    """Raise `InputError` if there are no logs."""
    if not paths:
        raise InputError("--results: no logs given; train a run first")


def _read_events(path: Path, required: dict[str, Sequence[str]]) -> list[dict[str, Any]]:
    """All events of a log, which must begin with the start of a run and contain a step."""
    schemas = {
        kind: schema | {key: schema.get(f"?{key}", ANYTHING) for key in required[kind]}
        for kind, schema in _EVENTS.items()
    }
    events: list[dict[str, Any]] = []
    try:
        with io_errors_at(path), path.open("rb") as log:
            for number, line in enumerate(log, start=1):
                events.append(_event(line, schemas, f"{path}, line {number}"))
    except FileNotFoundError:
        raise InputError(f"{path}: no such log; `cloob train` writes it") from None
    if not events or events[0]["event"] != "start" or "run" not in events[0]:
        raise InputError(
            f"{path}: not a log of `cloob train` (the first event is not the start of a run); train the run "
            "again"
        )
    if not any(event["event"] == "step" for event in events):
        raise InputError(f"{path}: the log has no training step; train the run again")
    return events


def _event(line: bytes, schemas: dict[str, Any], source: str) -> dict[str, Any]:
    try:
        event = parse_json(line)
    except ValueError as error:
        raise InputError(f"{source}: a line is not JSON ({error}); {_REMEDY}") from None
    problem = type_error(event, {"event": (str,), "*": ANYTHING})
    if problem is None and (schema := schemas.get(event["event"])) is not None:
        run = event.get("run")
        if isinstance(run, dict) and isinstance(run.get("objective"), str):
            check_objective(run["objective"], source)
        problem = type_error(event, schema)
        not_positive = [key for key in _POSITIVE if problem is None and key in event and event[key] <= 0]
        problem = f"{not_positive[0]} is {event[not_positive[0]]}" if not_positive else problem
    if problem is not None:
        raise InputError(f"{source}: not a log of `cloob train`: {problem}; {_REMEDY}")
    return event
