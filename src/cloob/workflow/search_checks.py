"""Problems of the hyperparameter searches of a config that its schema accepts."""

from collections.abc import Collection, Iterator, Mapping
from typing import Any

from cloob.models.config import ModelConfig
from cloob.train.recipe import Recipe, recipe_problems
from cloob.workflow.runs import Config, planned_runs, recipe_arguments
from cloob.workflow.search import (
    PlannedTrial,
    all_trials,
    planned_trials,
    reported_searches,
    searches,
    trial_arguments,
    trial_processes,
)

_MAX_NAME_BYTES = 255  # the limit of common file systems
# Key of a run or search -> section of the config that defines its value.
_SECTIONS = {
    "corpus": "corpora",
    "validation": "corpora",
    "recipe": "recipes",
    "architecture": "architectures",
}


def undefined_name(owner: str, key: str, name: str, defined: Collection[str]) -> str:
    """The problem of a key that refers to something that is not defined."""
    section, shown = _SECTIONS.get(key, key), name or '""'
    return f"{owner}.{key}: {shown} is not defined; {section} has {', '.join(defined) or 'none'}"


def undefined_names(config: Config) -> Iterator[str]:
    """Undefined corpora, recipes, architectures and hyperparameters that searches refer to."""
    for search, settings in searches(config).items():
        for key, section in _SECTIONS.items():
            name = settings.get(key)
            if name is not None and name not in config[section]:
                yield undefined_name(f"search.{search}", key, name, config[section])
        recipe = config["recipes"].get(settings["recipe"])
        for objective in settings["grid"]:
            if recipe and objective not in recipe["objectives"]:
                yield (
                    f"search.{search}.grid: {objective} has no hyperparameters in recipe "
                    f"{settings['recipe']}; add recipes.{settings['recipe']}.objectives.{objective}"
                )


def search_problems(
    config: Config, models: Mapping[str, ModelConfig], reported: Collection[str]
) -> Iterator[str]:
    """Unequal budgets, impossible recipes, seeds that runs share; all names must be defined.

    `reported` are the problems of the recipes of runs, which are not repeated.
    """
    for search, settings in searches(config).items():
        counts = {objective: len(planned_trials(config, search, objective)) for objective in settings["grid"]}
        if len(set(counts.values())) > 1:
            listed = ", ".join(f"{objective} {count}" for objective, count in counts.items())
            yield (
                f"search.{search}.grid: unequal numbers of settings ({listed}); give every objective the "
                "same number, or the one with more is tuned more"
            )
        yield from _long_names(config, search)
        for trial in all_trials(config, search):
            yield from _trial_problems(config, models, trial, reported)
    yield from _problems_of_runs(config, models)


def _long_names(config: Config, search: str) -> Iterator[str]:
    """Objectives whose trials have names that are too long for a folder or a log."""
    for objective in searches(config)[search]["grid"]:
        names = planned_trials(config, search, objective)
        length = max(len(f"{search}_{objective}_{name}.log") for name in names)
        if length > _MAX_NAME_BYTES:
            yield (
                f"search.{search}.grid.{objective}: its keys and values name files of up to {length} bytes, "
                f"but {_MAX_NAME_BYTES} are the maximum; set keys with a single value in the recipe"
            )


def _trial_problems(
    config: Config, models: Mapping[str, ModelConfig], trial: PlannedTrial, reported: Collection[str]
) -> Iterator[str]:
    """The violated constraints of a trial. A search that no table needs may have any number of processes."""
    key_of_search = f"search.{trial.search}"
    settings, recipe = searches(config)[trial.search], Recipe(**trial_arguments(config, trial))
    owner = f"recipes.{settings['recipe']}"
    of_objective = config["recipes"][settings["recipe"]]["objectives"][trial.objective]
    setup: dict[str, Any] = {
        "objective": trial.objective,
        "model_config": models.get(settings["architecture"]),
    }
    of_one_process = set(recipe_problems(recipe, **setup))
    if trial.search in reported_searches(config):
        setup["processes"] = trial_processes(config, trial.search)
    for key, problem in recipe_problems(recipe, **setup):
        if key in trial.values:
            line = f"{key_of_search}.grid.{trial.objective}.{key}: {problem}"
        else:
            line = f"{owner}.objectives.{trial.objective}" if key in of_objective else owner
            line += f".{key}: {problem}"
            if line in reported:
                continue
            line = f"{key_of_search}: {line}"
        if (key, problem) not in of_one_process:
            line += f"; set {key_of_search}.processes, or {key_of_search}: null"
        yield line


def _problems_of_runs(config: Config, models: Mapping[str, ModelConfig]) -> Iterator[str]:
    """Runs whose recipe cannot take the values of their search, or that repeat its seed."""
    for name, planned in planned_runs(config).items():
        if planned.search is None:
            continue
        settings = searches(config)[planned.search]
        if planned.run.seed == settings["seed"]:
            yield (
                f"search.{planned.search}.seed: {settings['seed']} is also a seed of {name}; choose another, "
                "so that no reported run has decided the search"
            )
        recipe = recipe_arguments(config["recipes"][planned.recipe], planned.run.objective)
        setup: dict[str, Any] = {
            "objective": planned.run.objective,
            "processes": planned.processes or config["train"]["processes"],
            "model_config": models.get(planned.run.architecture),
        }
        of_recipe = set(recipe_problems(Recipe(**recipe), **setup))  # reported already
        for trial in planned_trials(config, planned.search, planned.run.objective).values():
            for key, problem in recipe_problems(Recipe(**recipe | trial.values), **setup):
                if (key, problem) not in of_recipe:
                    yield f"recipes.{planned.recipe} with search {planned.search}: {key}: {problem}"
