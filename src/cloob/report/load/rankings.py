"""The ranked trials of hyperparameter searches, with checked types."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cloob.common.errors import InputError
from cloob.report.load.json_checks import ANYTHING, NUMBER, read_json, type_error
from cloob.report.names import check_objective

DIRECTIONS = ("image_to_text", "text_to_image")
_RECALLS = [f"{direction}_r{k}" for direction in DIRECTIONS for k in (1, 5, 10)]
_SCHEMA = {
    "search": (str,),
    "objective": (str,),
    "seed": (int,),
    "epochs": (int,),
    "validation_pairs": (int,),
    "trials": [
        {"rank": (int,), "values": {"*": (int, float, str, bool)}, "diverged": (bool,), "*": ANYTHING}
    ],
    "*": ANYTHING,
}
_METRICS = dict.fromkeys(_RECALLS, NUMBER) | {"*": ANYTHING}
_REMEDY = "delete it and run `cloob tune select` again"


@dataclass(frozen=True)
class RankedTrial:
    """A trial with its rank (1 = chosen) and R@1, fractions; None if it diverged."""

    rank: int
    values: Mapping[str, Any]
    image_to_text_r1: float | None
    text_to_image_r1: float | None

    @property
    def mean_r1(self) -> float | None:
        """The mean of both directions, by which trials are ranked."""
        if self.image_to_text_r1 is None or self.text_to_image_r1 is None:
            return None
        return (self.image_to_text_r1 + self.text_to_image_r1) / 2


@dataclass(frozen=True)
class Ranking:
    """The trials of one objective of a search, best first."""

    search: str
    objective: str
    seed: int
    epochs: int
    validation_pairs: int
    trials: Sequence[RankedTrial]

    @property
    def winner(self) -> RankedTrial:
        """The chosen trial."""
        return self.trials[0]


def read_ranking(path: Path) -> Ranking:
    """Read a file of `cloob tune select`. Raises `InputError`."""
    content = read_json(path, "no such ranking; run the search", _REMEDY)
    problem = type_error(content, _SCHEMA)
    if problem is None:
        check_objective(content["objective"], path)
        problem = _problem(content["validation_pairs"], content["trials"])
    if problem is not None:
        raise InputError(f"{path}: not a ranking of `cloob tune select`: {problem}; {_REMEDY}")
    trials = [
        RankedTrial(
            trial["rank"],
            trial["values"],
            *(None if trial["diverged"] else trial["metrics"][f"{direction}_r1"] for direction in DIRECTIONS),
        )
        for trial in sorted(content["trials"], key=lambda trial: trial["rank"])
    ]
    keys = ("search", "objective", "seed", "epochs", "validation_pairs")
    return Ranking(**{key: content[key] for key in keys}, trials=trials)


def _problem(validation_pairs: int, trials: Sequence[Mapping[str, Any]]) -> str | None:
    """The first value that no ranking can have; None if there is none."""
    if validation_pairs < 1:
        return f"validation_pairs is {validation_pairs}"
    for index, trial in enumerate(trials):
        if trial["values"].keys() != trials[0]["values"].keys():
            return f"trials[{index}].values has other keys than trials[0].values"
        if trial["diverged"]:
            continue
        name = f"trials[{index}].metrics"
        if problem := type_error(trial.get("metrics"), _METRICS, name):
            return problem
        for key in _RECALLS:
            if not 0 <= (recall := trial["metrics"][key]) <= 1:
                return f"{name}.{key} is {recall}, not in [0, 1]"
    if sorted(trial["rank"] for trial in trials) != [*range(1, len(trials) + 1)]:
        return "the ranks are not 1, 2, …"
    if not any(trial["rank"] == 1 and not trial["diverged"] for trial in trials):
        return "no trial is ranked first"
    return None
