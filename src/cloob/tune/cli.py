"""`cloob tune select`."""

import argparse
from pathlib import Path
from typing import Any

_SELECT = "choose the recipe of an objective from the trials of a hyperparameter search"


def add_verbs(verbs: Any) -> None:
    """Add the verb `select`."""
    select = verbs.add_parser(
        "select",
        help=_SELECT,
        description="Rank trials by image-text retrieval on the validation pairs after the last epoch: mean "
        "R@1 of both directions; ties by R@5, R@10 and the order of the trials. Diverged trials rank last.",
    )
    select.add_argument("--search", required=True, help="name of the search in the config")
    select.add_argument("--objective", required=True, help="objective of all trials")
    select.add_argument(
        "--keys", nargs="+", action="extend", required=True, help="the searched hyperparameters"
    )
    select.add_argument(
        "--trials",
        type=Path,
        nargs="+",
        action="extend",
        required=True,
        help="metrics.jsonl of every trial, in the order of the grid",
    )
    select.add_argument("--recipe", type=Path, required=True, help="output: the chosen hyperparameters")
    select.add_argument("--ranking", type=Path, required=True, help="output: all trials with their ranks")
    select.set_defaults(run=_select)


def _select(options: argparse.Namespace) -> None:
    from cloob.tune.select import select

    winner = select(
        options.search, options.objective, options.keys, options.trials, options.recipe, options.ranking
    )
    values = ", ".join(f"{key} {value}" for key, value in winner.values.items())
    print(f"{options.objective}: {values} (mean R@1 {100 * winner.mean_recall(1):.2f}%)")
