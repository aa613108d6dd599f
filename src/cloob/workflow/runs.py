"""The grid of runs, and the arguments that a run is trained with."""

import itertools
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from typing import Any

from cloob.train.recipe import Run
from cloob.workflow.flags import flags

Config = dict[str, Any]
# Selects epochs of a recipe.
EpochSelection = Callable[[dict[str, Any]], list[int]]


@dataclass(frozen=True)
class PlannedRun:
    """One training run of the grid, and the corpus whose validation split it is validated on."""

    run: Run
    validation: str


def expand_row(row: dict[str, Any]) -> Iterator[PlannedRun]:
    """Every combination of objective, architecture and seed of one row of `runs`."""
    validation = row.get("validation") or row["corpus"]
    for objective, architecture, seed in itertools.product(
        row["objectives"], row["architectures"], row["seeds"]
    ):
        yield PlannedRun(Run(row["corpus"], objective, architecture, row["recipe"], seed), validation)


def planned_runs(config: Config) -> dict[str, PlannedRun]:
    """Every run of the grid by name."""
    return {planned.run.name: planned for row in config["runs"] for planned in expand_row(row)}


def recipe_of(config: Config, name: str) -> dict[str, Any]:
    """The recipe of a run."""
    return config["recipes"][planned_runs(config)[name].run.recipe]


def eval_epochs(recipe: dict[str, Any]) -> list[int]:
    """The epochs with complete evaluation, which the tables report."""
    return recipe["eval_epochs"]


def embedding_eval_epochs(recipe: dict[str, Any]) -> list[int]:
    """The epochs whose embedding structure is evaluated; their checkpoints are kept."""
    return sorted({*recipe["eval_epochs"], *recipe["embedding_eval_epochs"]})


def first_and_eval_epochs(recipe: dict[str, Any]) -> list[int]:
    """The first recorded epoch, which is the baseline of relative increases, and the evaluated ones."""
    return sorted({embedding_eval_epochs(recipe)[0], *recipe["eval_epochs"]})


def training_shards(config: Config, name: str) -> dict[str, str]:
    """The manifests that a run trains and validates on, by the names of the flags of `cloob train`."""
    planned, shards = planned_runs(config)[name], f"{config['results']}/shards"
    return {
        "shards": f"{shards}/{planned.run.corpus}/train/shards.json",
        "validation": f"{shards}/{planned.validation}/validation/shards.json",
    }


def recipe_arguments(recipe: dict[str, Any], objective: str) -> dict[str, Any]:
    """The fields of `cloob.train.recipe.Recipe`: the recipe with the hyperparameters of one objective."""
    shared = {
        key: value
        for key, value in recipe.items()
        if key not in ("objectives", "eval_epochs", "embedding_eval_epochs")
    }
    return shared | recipe["objectives"][objective]


def train_flags(config: Config, name: str) -> list[str]:
    """A run, its recipe, its objective's hyperparameters and its set-up, as flags of `cloob train`."""
    run, recipe = planned_runs(config)[name].run, recipe_of(config, name)
    setup = {
        "model": config["architectures"][run.architecture],
        "keep_epochs": embedding_eval_epochs(recipe),
        "checkpoint_interval_minutes": config["train"]["checkpoint_interval_minutes"],
        "max_replaced_fraction": config["train"]["max_replaced_fraction"],
        "node_local_dir": config["train"]["node_local_dir"],
        "wandb_project": config["train"]["wandb_project"],
    }
    return flags(asdict(run) | recipe_arguments(recipe, run.objective) | setup)
