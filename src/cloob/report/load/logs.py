"""Training logs, compact or as JSON lines: a run's identity, hardware, speed, losses, validation metrics."""

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from cloob.common.errors import InputError
from cloob.report.load.compact_logs import SUFFIX, read_columns, read_events
from cloob.report.load.log_lines import TIMING, event_schemas, read_lines
from cloob.report.load.result_files import RUN_KEYS


@dataclass(frozen=True)
class Log:
    """The log of one run.

    `starts` has the first start and one per resume. The steps, of which there may be hundreds of thousands,
    are read on request, and not cached. `validations` has one per epoch, all on the pairs of the last one.
    """

    path: Path
    run: dict[str, Any]
    starts: Sequence[dict[str, Any]]
    validations: Sequence[dict[str, Any]]
    _steps_before_starts: Sequence[int]
    _read_columns: Callable[[Sequence[str]], Mapping[str, np.ndarray]]

    @property
    def identity(self) -> dict[str, Any]:
        """The keys of `RUN_KEYS`."""
        return {key: self.run[key] for key in RUN_KEYS}

    def steps(self, keys: Sequence[str]) -> pd.DataFrame:
        """A row per step with some of the keys that `read_log` was told to require."""
        return pd.DataFrame(dict(self._read_columns(keys)), columns=list(keys))

    def timing(self) -> pd.DataFrame:
        """A row per step: `TIMING`, its hardware and `rate_per_process`, pairs per second and process.

        `processes` and `device` are those that the step ran on; a run may resume with others.
        """
        steps = self.steps(TIMING)
        counts = np.diff([*self._steps_before_starts, len(steps)])
        hardware: list[tuple[int, Any]] = []
        processes, device = 1, None
        for start in self.starts:
            processes, device = start.get("processes", processes), start.get("device", device)
            hardware.append((processes, device))
        steps["processes"] = np.repeat([processes for processes, _ in hardware], counts)
        steps["device"] = np.repeat(np.array([device for _, device in hardware], dtype=object), counts)
        steps["rate_per_process"] = steps.samples_per_second / steps.processes
        return steps

    @property
    def hours(self) -> float:
        """Hours in steps, including waiting for data, without start-up and validation."""
        return float(self.steps(["batch_seconds"]).batch_seconds.sum()) / 3600

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
    """Read the log of a run: metrics.parquet, or metrics.jsonl, which is slower.

    The arguments name the keys that each kind of event must have. Raises `InputError` with the number of the
    first invalid line or event.
    """
    schemas = event_schemas({"start": start, "step": step, "validation": validation})
    read: Callable[[Sequence[str]], Mapping[str, np.ndarray]]
    if path.suffix == SUFFIX:
        events, _ = read_events(path, schemas)
        read = partial(read_columns, path)
    else:
        content = read_lines(path, schemas)
        events, columns = list(content.events), content.columns
        read = lambda keys: {key: columns[key] for key in keys}  # noqa: E731
    starts = [(steps, event) for steps, event in events if event["event"] == "start"]
    return Log(
        path,
        next(event["run"] for _, event in reversed(starts) if "run" in event),
        [event for _, event in starts],
        _comparable_validations([event for _, event in events]),
        [steps for steps, _ in starts],
        read,
    )


def _comparable_validations(events: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """The last validation of each epoch, without those on other pairs than the last of all.

    If the validation split of a run changes, its log has validations on both splits. Validations in logs of
    older versions, which lack the hash of the split, count as comparable.
    """
    split: str | None = None
    validations: list[tuple[str | None, dict[str, Any]]] = []
    for event in events:
        if event["event"] == "start":
            split = event.get("validation_sha256")
        elif event["event"] == "validation":
            validations.append((split, event))
    comparable = [event for split, event in validations if split in (None, validations[-1][0])]
    return list({event["epoch"]: event for event in comparable}.values())


def read_timed_log(path: Path, start: Sequence[str] = ("run", "processes", "device")) -> Log:
    """Read a log whose steps all have a timing."""
    return read_log(path, start=start, step=TIMING)


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
