"""The trials of a hyperparameter search, read from their logs."""

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cloob.common.errors import InputError, io_errors_at
from cloob.common.json_lines import STEP, Event, parse_event
from cloob.train.recipe import RECIPE_DEFAULTS

RECALLS = tuple(f"{direction}_r{k}" for direction in ("image_to_text", "text_to_image") for k in (1, 5, 10))


@dataclass(frozen=True)
class Trial:
    """A finished trial; `metrics` are those of `RECALLS` after the last epoch, None if it diverged."""

    path: Path
    values: dict[str, Any]
    """The searched hyperparameters."""
    setup: dict[str, Any]
    """Everything else that must be the same in all trials of an objective."""
    epochs: int
    pairs: int | None
    """Validation pairs; None if it diverged."""
    validation_sha256: str | None
    """Of the validation pairs; None if it diverged, and in logs of older versions."""
    metrics: dict[str, float] | None

    def mean_recall(self, k: int) -> float:
        """The mean of R@k of both directions, a fraction; -inf for a diverged trial."""
        if self.metrics is None:
            return -math.inf
        return (self.metrics[f"image_to_text_r{k}"] + self.metrics[f"text_to_image_r{k}"]) / 2


def read_trial(path: Path, keys: Sequence[str]) -> Trial:
    """Read the log of a trial that varies the hyperparameters `keys`. Raises `InputError`."""
    events = _read_events(path)
    start = next((event for event in reversed(events) if event["event"] == "start"), {})
    run, recipe = start.get("run"), start.get("recipe")
    if not isinstance(run, dict) or not isinstance(recipe, dict) or type(recipe.get("epochs")) is not int:
        raise InputError(f"{path}: no start event with run and recipe; {_REMEDY}")
    if missing := [key for key in keys if key not in recipe]:
        raise InputError(f"{path}: its recipe has no {', '.join(missing)}; {_REMEDY}")
    setup = {
        "objective": run.get("objective"),
        "architecture": run.get("architecture"),
        "seed": run.get("seed"),
        "corpus_sha256": start.get("corpus_sha256"),
        "model_config": start.get("model_config"),
        **{f"recipe.{key}": value for key, value in (RECIPE_DEFAULTS | recipe).items() if key not in keys},
    }
    values, epochs = {key: recipe[key] for key in keys}, recipe["epochs"]
    if any(event["event"] == "diverged" for event in events):
        return Trial(path, values, setup, epochs, None, None, None)
    validation = next((event for event in reversed(events) if event["event"] == "validation"), {})
    if validation.get("epoch") != epochs:
        raise InputError(f"{path}: no validation after the last epoch, {epochs}; {_REMEDY}")
    if bad := [key for key in RECALLS if not _is_fraction(validation.get(key))]:
        raise InputError(f"{path}: {bad[0]} of the last validation is not in [0, 1]; {_REMEDY}")
    if type(pairs := validation.get("samples")) is not int or pairs < 1:
        raise InputError(f"{path}: the last validation has no number of samples; {_REMEDY}")
    sha256 = start.get("validation_sha256")
    split = sha256 if isinstance(sha256, str) else None
    return Trial(path, values, setup, epochs, pairs, split, {key: validation[key] for key in RECALLS})


_REMEDY = "delete it and run the trial again"
_VALIDATE_AGAIN = "delete the logs on the older validation split and run these trials again"


def _read_events(path: Path) -> list[Event]:
    events = []
    try:
        with io_errors_at(path), path.open("rb") as log:
            for number, line in enumerate(log, start=1):
                if line.startswith(STEP):  # hundreds of thousands of lines, which are not needed
                    continue
                event = parse_event(line)
                if event is None:
                    raise InputError(f"{path}, line {number}: not an event of `cloob train`; {_REMEDY}")
                events.append(event)
    except FileNotFoundError:
        raise InputError(f"{path}: no such log; run the trial first") from None
    return events


def _is_fraction(value: Any) -> bool:
    return type(value) in (int, float) and 0 <= value <= 1


def check_comparable(trials: Sequence[Trial]) -> None:
    """Raise `InputError` unless the trials differ in the searched hyperparameters only."""
    first = trials[0]
    seen: dict[str, Path] = {}
    for trial in trials:
        keys = first.setup | trial.setup
        different = [key for key in keys if trial.setup.get(key) != first.setup.get(key)]
        if different:
            key = different[0]
            raise InputError(
                f"{trial.path}: {key} is {trial.setup.get(key)!r:.60}, but {first.setup.get(key)!r:.60} in "
                f"{first.path}; delete the older one and run the trial again"
            )
        values = json.dumps(trial.values)
        if values in seen:
            raise InputError(f"{trial.path}: the same setting as {seen[values]}; give it once")
        seen[values] = trial.path
    counts = {trial.pairs: trial.path for trial in trials if trial.pairs is not None}
    if len(counts) > 1:
        (pairs, path), (others, other) = list(counts.items())[:2]
        raise InputError(f"{other}: {others} validation pairs, but {pairs} in {path}; {_VALIDATE_AGAIN}")
    splits = {trial.validation_sha256: trial.path for trial in trials if trial.validation_sha256 is not None}
    if len(splits) > 1:
        (split, path), (others_split, other) = list(splits.items())[:2]
        raise InputError(
            f"{other}: validation_sha256 is {others_split:.12}, but {split:.12} in {path}; {_VALIDATE_AGAIN}"
        )
