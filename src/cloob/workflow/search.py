"""Hyperparameter searches: their trials, and the arguments that a trial is trained with."""

import itertools
from dataclasses import asdict, dataclass
from typing import Any

from cloob.train.recipe import Run
from cloob.workflow.flags import flags
from cloob.workflow.runs import (
    Config,
    lookup,
    manifest_paths,
    model_file,
    model_flags,
    planned_runs,
    recipe_arguments,
    tuned_recipe,
)


@dataclass(frozen=True)
class PlannedTrial:
    """One setting of the grid of an objective."""

    search: str
    objective: str
    values: dict[str, Any]

    @property
    def name(self) -> str:
        """`learning_rate_0.001+warmup_steps_800`: the name of its folder.

        It is made from the values, so that a trial keeps its folder when the grid is extended.
        """
        values = (f"{key}_{value}".replace("e+", "e") for key, value in self.values.items())
        return "+".join(values)


def searches(config: Config) -> dict[str, dict[str, Any]]:
    """Every search of the config by name."""
    return config.get("search") or {}


def used_searches(config: Config) -> list[str]:
    """The searches that runs name, in the order of the config."""
    used = {planned.search for planned in planned_runs(config).values()}
    return [name for name in searches(config) if name in used]


def reported_searches(config: Config) -> list[str]:
    """The searches in the table `search`: those that runs name; if there is none, all of them."""
    return used_searches(config) or list(searches(config))


def planned_trials(config: Config, search: str, objective: str) -> dict[str, PlannedTrial]:
    """The trials of an objective by name: every combination of the values of its grid.

    Raises `InputError` if the objective has none.
    """
    grid = lookup("objective", objective, searches(config)[search]["grid"], f"search.{search}.grid")
    trials = [
        PlannedTrial(search, objective, dict(zip(grid, values, strict=True)))
        for values in itertools.product(*grid.values())
    ]
    return {trial.name: trial for trial in trials}


def planned_trial(config: Config, search: str, objective: str, name: str) -> PlannedTrial:
    """The trial of a name. Raises `InputError` if it is not in the grid of the objective."""
    trials = planned_trials(config, search, objective)
    return lookup("trial", name, trials, f"search.{search}.grid.{objective}")


def all_trials(config: Config, search: str) -> list[PlannedTrial]:
    """The trials of all objectives of a search."""
    objectives = searches(config)[search]["grid"]
    return [trial for name in objectives for trial in planned_trials(config, search, name).values()]


def trial_folder(config: Config, trial: PlannedTrial) -> str:
    """The folder of a trial."""
    return f"{config['results']}/tune/{trial.search}/{trial.objective}/{trial.name}"


def trial_logs(config: Config, search: str, objective: str) -> list[str]:
    """The log of every trial of an objective, in the order of its grid."""
    trials = planned_trials(config, search, objective).values()
    return [f"{trial_folder(config, trial)}/metrics.jsonl" for trial in trials]


def rankings(config: Config, search: str) -> list[str]:
    """The ranked trials of every objective of a search."""
    return [
        tuned_recipe(config, search, objective).removesuffix(".json") + "_trials.json"
        for objective in searches(config)[search]["grid"]
    ]


def select_flags(config: Config, search: str, objective: str) -> list[str]:
    """The searched hyperparameters and the trials of an objective, as flags of `cloob tune select`."""
    keys = list(searches(config)[search]["grid"][objective])
    return flags({"keys": keys, "trials": trial_logs(config, search, objective)})


def validation_corpus(settings: dict[str, Any]) -> str:
    """The corpus whose validation split decides a search."""
    return settings.get("validation") or settings["corpus"]


def trial_inputs(config: Config, search: str, objective: str, trial: str) -> dict[str, str]:
    """The files that a trial is trained from, by the names of the flags of `cloob train`.

    Raises `InputError` if the trial is not in the grid of the objective.
    """
    planned_trial(config, search, objective, trial)  # raises the error
    settings = searches(config)[search]
    manifests = manifest_paths(config, settings["corpus"], validation_corpus(settings))
    return manifests | model_file(config, settings["architecture"])


def trial_processes(config: Config, search: str) -> int:
    """The number of training processes of a trial."""
    return searches(config)[search].get("processes") or config["train"]["processes"]


def trial_arguments(config: Config, trial: PlannedTrial) -> dict[str, Any]:
    """The fields of `cloob.train.recipe.Recipe`: the base recipe with the values of the trial."""
    recipe = config["recipes"][searches(config)[trial.search]["recipe"]]
    return recipe_arguments(recipe, trial.objective) | trial.values


def trial_flags(config: Config, search: str, objective: str, trial: str) -> list[str]:
    """A trial as flags of `cloob train`."""
    planned, settings = planned_trial(config, search, objective, trial), searches(config)[search]
    run = Run(
        corpus=settings["corpus"],
        objective=objective,
        architecture=settings["architecture"],
        recipe=f"{settings['recipe']}+{trial}",
        seed=settings["seed"],
    )
    return flags(asdict(run) | trial_arguments(config, planned)) + model_flags(config, run.architecture)
