"""Recipes of the objectives that a table compares: which belong together, and how they differ."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from cloob.report.names import OBJECTIVE_TITLES, ordered


def recipe_groups(runs: Iterable[tuple[str, str]]) -> list[tuple[str, ...]]:
    """(objective, recipe) of all runs -> the recipes of each group of runs to compare, by name.

    If every objective has one recipe, its own or a shared one, all are compared. Otherwise runs with the same
    recipe are, and the objectives that have one recipe of their own are compared with each other.
    """
    objectives: dict[str, set[str]] = {}
    recipes: dict[str, set[str]] = {}
    for objective, recipe in runs:
        objectives.setdefault(recipe, set()).add(objective)
        recipes.setdefault(objective, set()).add(recipe)
    if all(len(names) == 1 for names in recipes.values()):
        return [tuple(sorted(objectives))] if objectives else []
    shared = sorted(recipe for recipe, names in objectives.items() if len(names) > 1)
    own = sorted(set(objectives) - set(shared))
    is_one_each = len({next(iter(objectives[recipe])) for recipe in own}) == len(own)
    groups = [(recipe,) for recipe in shared] + (
        [tuple(own)] if own and is_one_each else [(name,) for name in own]
    )
    return sorted(groups)


def recipe_differences(
    names: Mapping[str, str], starts: Sequence[tuple[str, Mapping[str, Any]]]
) -> list[str]:
    """Sentences on how the recipes differ: their names by objective, and their keys.

    `names` has the recipe of each objective, `starts` the objective and the start event of each log.
    """
    sentences = []
    if len(set(names.values())) > 1:
        sentences.append(f"Recipes differ by objective: {_by_objective(names)}.")
    values: dict[str, dict[str, Any]] = {}
    for objective, start in starts:
        for key, value in start.get("recipe", {}).items():
            values.setdefault(key, {})[objective] = value
    compared = {objective for objective, _ in starts}
    different = {
        key: by_objective
        for key, by_objective in values.items()
        if len(compared) > 1 and len({repr(by_objective.get(name)) for name in compared}) > 1
    }
    if different:
        listed = "; ".join(f"{key} ({_by_objective(part)})" for key, part in different.items())
        sentences.append(f"Hyperparameters that differ by objective: {listed}.")
    return sentences


def selection_remark(recipes: Iterable[str]) -> list[str]:
    """The sentence that a search chose recipes by validation pairs; none without such recipes.

    The recipe of a run that names a search is called `RECIPE@SEARCH`.
    """
    tuned = [recipe for recipe in recipes if "@" in recipe]
    if not tuned:
        return []
    return [
        f"The recipes {', '.join(tuned)} were chosen by R@1 on the validation pairs of their search; results "
        "on the same pairs are not independent of the choice."
    ]


def _by_objective(values: Mapping[str, Any]) -> str:
    """`CLIP 0.002, CLOOB 0.001`; numbers with up to four digits."""
    texts = {name: f"{value:.4g}" if isinstance(value, float) else value for name, value in values.items()}
    return ", ".join(f"{OBJECTIVE_TITLES[name]} {texts[name]}" for name in ordered(values, OBJECTIVE_TITLES))
