"""Choose the recipe of an objective: by image-text retrieval on validation pairs, never by a test set."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from cloob.common.errors import InputError
from cloob.common.json_files import write_json
from cloob.tune.trials import Trial, check_comparable, read_trial


def ranked(trials: Sequence[Trial]) -> list[Trial]:
    """The trials, best first: by mean R@1 of both directions, then R@5, then R@10, then their order.

    Diverged trials are last.
    """
    return sorted(trials, key=lambda trial: [-trial.mean_recall(k) for k in (1, 5, 10)])  # stable


def select(
    search: str, objective: str, keys: Sequence[str], logs: Sequence[Path], recipe: Path, ranking: Path
) -> Trial:
    """Rank the trials of an objective; write the winner's hyperparameters and all trials as JSON.

    `recipe` contains nothing but the choice, so it has the same bytes as long as the choice is the same.
    Returns the winner. Raises `InputError`, also if all trials diverged.
    """
    trials = [read_trial(path, keys) for path in logs]
    for trial in trials:
        if trial.setup["objective"] != objective:
            raise InputError(f"{trial.path}: trains {trial.setup['objective']}, not {objective}")
    check_comparable(trials)
    order = ranked(trials)
    winner = order[0]
    if winner.metrics is None:
        raise InputError(
            f"search {search}: all {len(trials)} trials of {objective} diverged; reduce the learning rates "
            f"of search.{search}.grid.{objective}, or use a longer warm-up"
        )
    write_json(recipe, {"search": search, "objective": objective, "recipe": winner.values})
    write_json(
        ranking,
        {
            "search": search,
            "objective": objective,
            "corpus_sha256": winner.setup["corpus_sha256"],
            "architecture": winner.setup["architecture"],
            "seed": winner.setup["seed"],
            "epochs": winner.epochs,
            "validation_pairs": winner.pairs,
            "trials": [_record(trial, order.index(trial) + 1) for trial in trials],
        },
    )
    return winner


def _record(trial: Trial, rank: int) -> dict[str, Any]:
    return {"rank": rank, "values": trial.values, "diverged": trial.metrics is None, "metrics": trial.metrics}
