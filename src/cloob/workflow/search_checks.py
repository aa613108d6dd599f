"""Problems of the hyperparameter searches of a config that its schema accepts."""

from collections.abc import Collection, Iterator, Mapping
from typing import Any

from cloob.models.config import ModelConfig
from cloob.train.recipe import Recipe, recipe_problems
from cloob.workflow.runs import Config, planned_runs, recipe_arguments
from cloob.workflow.search import all_trials, planned_trials, searches, trial_arguments, trial_processes

# Key of a run or search -> section of the config that defines its value.
_SECTIONS = {
    "corpus": "corpora",
    "validation": "corpora",
    "recipe": "recipes",
    "architecture": "architectures",
}


def undefined_name(owner: str, key: str, name: str, defined: Collection[str]) -> str:
    """The problem of a key that refers to something that is not defined."""
    section = _SECTIONS.get(key, key)
    return f"{owner}.{key}: {name} is not defined; {section} has {', '.join(defined) or 'none'}"


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


def search_problems(config: Config, models: Mapping[str, ModelConfig]) -> Iterator[str]:
    """Unequal budgets, impossible recipes, seeds that runs share; all names must be defined."""
    for search, settings in searches(config).items():
        counts = {objective: len(planned_trials(config, search, objective)) for objective in settings["grid"]}
        if len(set(counts.values())) > 1:
            listed = ", ".join(f"{objective} {count}" for objective, count in counts.items())
            yield (
                f"search.{search}.grid: unequal numbers of settings ({listed}); give every objective the "
                "same number, or the one with more is tuned more"
            )
        model, recipe = models.get(settings["architecture"]), config["recipes"][settings["recipe"]]
        for trial in all_trials(config, search):
            problems = recipe_problems(
                Recipe(**trial_arguments(config, trial)),
                objective=trial.objective,
                processes=trial_processes(config, search),
                model_config=model,
            )
            for key, problem in problems:
                owner = f"recipes.{settings['recipe']}"
                if key in recipe["objectives"][trial.objective]:
                    owner = f"{owner}.objectives.{trial.objective}"
                if key in trial.values:
                    owner = f"search.{search}.grid.{trial.objective}"
                yield f"{owner}.{key}: {problem}"
    yield from _problems_of_runs(config, models)


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
