"""The lines of a training log (metrics.jsonl), checked: steps as columns, the other events as they are."""

import math
from array import array
from collections.abc import Iterable, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from cloob.common.errors import InputError, io_errors_at
from cloob.report.load.json_checks import ANYTHING, NUMBER, parse_json, type_error
from cloob.report.load.result_files import RUN_KEYS
from cloob.report.names import check_objective

TIMING = ("samples_per_second", "data_seconds", "batch_seconds")
# The numbers of a step that tables and figures may read; the others stay in the log.
STEP_KEYS = ("step", "epoch", "loss", "learning_rate", *TIMING)
POSITIVE = ("step", "batch_seconds", "samples_per_second", "processes")  # numbers of any event
_POSITIVE_TYPES: dict[str, Any] = {f"?{key}": NUMBER for key in POSITIVE}
_EVENTS: dict[str, dict[str, Any]] = {
    "start": {
        **_POSITIVE_TYPES,
        "?run": dict.fromkeys(("name", *RUN_KEYS), (str,)) | {"seed": (int,), "*": ANYTHING},
        "?recipe": {"*": ANYTHING},
        "?processes": (int,),
        "?device": (str,),
        "?pairs": (int,),
        "?restarts": (int,),
        "?commit": (str, type(None)),
        "?corpus_sha256": (str,),
        "?urls_sha256": (str, type(None)),
        "?validation_sha256": (str,),
        "?torch": (str,),
        "*": ANYTHING,
    },
    "step": _POSITIVE_TYPES | {f"?{key}": NUMBER for key in STEP_KEYS} | {"*": ANYTHING},
    "validation": {
        **_POSITIVE_TYPES,
        **{f"?{key}": NUMBER for key in ("epoch", "saturation", "image_to_text_r1", "text_to_image_r1")},
        "*": ANYTHING,
    },
}
_REMEDY = "restore the file, delete this line (its event is then left out), or train the run again"

Schemas = Mapping[str, Mapping[str, Any]]
Event = dict[str, Any]


@dataclass(frozen=True)
class LogContent:
    """What tables and figures read from a log.

    `events` are all events but steps, in their order, each with the number of steps before it. `columns` has
    an array per key of `STEP_KEYS` that a step has (int64 or float64; NaN where a step lacks it).
    """

    events: Sequence[tuple[int, Event]]
    columns: Mapping[str, np.ndarray]


def event_schemas(required: Mapping[str, Sequence[str]]) -> Schemas:
    """The schema of every kind of event, with the keys that it must have."""
    return {
        kind: schema | {key: schema.get(f"?{key}", ANYTHING) for key in required.get(kind, ())}
        for kind, schema in _EVENTS.items()
    }


def read_lines(path: Path, schemas: Schemas) -> LogContent:
    """Read a log. Raises `InputError` with the number of the first invalid line."""
    events: list[tuple[int, Event]] = []
    columns = {key: array("d") for key in STEP_KEYS}
    integers, num_steps = set(STEP_KEYS), 0
    try:
        with io_errors_at(path), path.open("rb") as log:
            for event in _checked(log, schemas, path):
                if event["event"] != "step":
                    events.append((num_steps, event))
                    continue
                num_steps += 1
                for key, column in columns.items():
                    value = event.get(key, math.nan)
                    column.append(value)
                    if type(value) is not int:
                        integers.discard(key)
    except FileNotFoundError:
        raise InputError(f"{path}: no such log; `cloob train` writes it") from None
    check_events(events, num_steps, path)
    arrays = {key: np.frombuffer(column) for key, column in columns.items()}
    arrays = {key: values for key, values in arrays.items() if not np.isnan(values).all()}
    return LogContent(
        events,
        {key: values.astype(np.int64) if key in integers else values for key, values in arrays.items()},
    )


def check_events(events: Sequence[tuple[int, Event]], num_steps: int, path: Path) -> None:
    """Raise `InputError` unless a log begins with the start of a run and has a step."""
    first = events[0][1] if events and events[0][0] == 0 else {}
    if first.get("event") != "start" or "run" not in first:
        raise InputError(
            f"{path}: not a log of `cloob train` (the first event is not the start of a run); train the run "
            "again"
        )
    if not num_steps:
        raise InputError(f"{path}: the log has no training step; train the run again")


def check_event(event: Any, schemas: Schemas, source: str, remedy: str = _REMEDY) -> None:
    """Raise `InputError` unless an event has the keys and types of its kind."""
    problem = type_error(event, {"event": (str,), "*": ANYTHING})
    if problem is None and (schema := schemas.get(event["event"])) is not None:
        run = event.get("run")
        if isinstance(run, dict) and isinstance(run.get("objective"), str):
            check_objective(run["objective"], source)
        problem = type_error(event, schema)
        not_positive = [key for key in POSITIVE if problem is None and key in event and event[key] <= 0]
        problem = f"{not_positive[0]} is {event[not_positive[0]]}" if not_positive else problem
    if problem is not None:
        raise InputError(f"{source}: not a log of `cloob train`: {problem}; {remedy}")


def _checked(lines: Iterable[bytes], schemas: Schemas, path: Path) -> Iterator[Event]:
    required = {key for key in schemas["step"] if key[0] not in "?*"}
    for number, line in enumerate(lines, start=1):
        try:
            event = parse_json(line)
        except ValueError as error:
            raise InputError(f"{path}, line {number}: a line is not JSON ({error}); {_REMEDY}") from None
        if not _is_step(event, required):
            check_event(event, schemas, f"{path}, line {number}")
        yield event


def _is_step(event: Any, required: Set[str]) -> bool:
    """Whether an event is certainly a valid step: a fast test for hundreds of thousands of lines."""
    if type(event) is not dict or event.get("event") != "step" or not event.keys() >= required:
        return False
    for key, value in event.items():
        if key != "event" and not (type(value) in NUMBER and -(2**63) < value < 2**63):
            return False
    return all(event[key] > 0 for key in POSITIVE if key in event)
