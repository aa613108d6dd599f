"""The grid of runs, and the arguments that a run is trained with."""

import difflib
import itertools
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any, TypeVar

from cloob.common.errors import InputError
from cloob.train.recipe import Run
from cloob.workflow.flags import flags

Config = dict[str, Any]
T = TypeVar("T")
# Selects epochs of a recipe.
EpochSelection = Callable[[dict[str, Any]], list[int]]


@dataclass(frozen=True)
class PlannedRun:
    """One training run of the grid."""

    run: Run
    """Its recipe is named `RECIPE`, or `RECIPE@SEARCH` if a search replaces values of the recipe."""
    validation: str
    """The corpus whose validation split it is validated on."""
    recipe: str
    """A key of `recipes`."""
    search: str | None
    """The search whose choices replace values of the recipe."""
    processes: int | None
    """Training processes; None: the default."""


def expand_row(row: dict[str, Any]) -> Iterator[PlannedRun]:
    """Every combination of objective, architecture and seed of one row of `runs`."""
    validation, search = row.get("validation") or row["corpus"], row.get("search")
    # Names of recipes contain no @, so names of runs are unambiguous.
    recipe = f"{row['recipe']}@{search}" if search else row["recipe"]
    for objective, architecture, seed in itertools.product(
        row["objectives"], row["architectures"], row["seeds"]
    ):
        run = Run(row["corpus"], objective, architecture, recipe, seed)
        yield PlannedRun(run, validation, row["recipe"], search, row.get("processes"))


def planned_runs(config: Config) -> dict[str, PlannedRun]:
    """Every run of the grid by name."""
    return {planned.run.name: planned for row in config["runs"] for planned in expand_row(row)}


def planned_run(config: Config, name: str) -> PlannedRun:
    """The run of a name. Raises `InputError` if it is not in the grid."""
    return lookup("run", name, planned_runs(config))


def lookup(kind: str, name: str, known: Mapping[str, T], place: str = "the config") -> T:
    """The value of a name. Raises `InputError` with the most similar name if it is unknown."""
    if name in known:
        return known[name]
    close = difflib.get_close_matches(name, known, n=1)
    remedy = f"did you mean {close[0]}?" if close else f"it has {', '.join(known) or 'none'}"
    raise InputError(f"no {kind} {name} in {place}; {remedy}")


def recipe_of(config: Config, name: str) -> dict[str, Any]:
    """The recipe of a run, before a search replaces some of its values (never its epochs)."""
    return config["recipes"][planned_run(config, name).recipe]


def eval_epochs(recipe: dict[str, Any]) -> list[int]:
    """The epochs with complete evaluation, which the tables report."""
    return recipe["eval_epochs"]


def embedding_eval_epochs(recipe: dict[str, Any]) -> list[int]:
    """The epochs whose embedding structure is evaluated; their checkpoints are kept."""
    return sorted({*recipe["eval_epochs"], *recipe["embedding_eval_epochs"]})


def first_and_eval_epochs(recipe: dict[str, Any]) -> list[int]:
    """The first recorded epoch, which is the baseline of relative increases, and the evaluated ones."""
    return sorted({embedding_eval_epochs(recipe)[0], *recipe["eval_epochs"]})


def training_inputs(config: Config, name: str) -> dict[str, str]:
    """The files that a run is trained from, by the names of the flags of `cloob train`."""
    planned = planned_run(config, name)
    inputs = manifest_paths(config, planned.run.corpus, planned.validation)
    inputs |= model_file(config, planned.run.architecture)
    if planned.search:
        inputs["tuned_recipe"] = tuned_recipe(config, planned.search, planned.run.objective)
    return inputs


def manifest_paths(config: Config, corpus: str, validation: str) -> dict[str, str]:
    """The manifests of a training corpus and a validation split, by the flags of `cloob train`."""
    shards = f"{config['results']}/shards"
    return {
        "shards": f"{shards}/{corpus}/train/shards.json",
        "validation": f"{shards}/{validation}/validation/shards.json",
    }


def model_file(config: Config, architecture: str) -> dict[str, str]:
    """The JSON file of an architecture, by the flag of `cloob train`; none for a model of open_clip."""
    model = config["architectures"][architecture]
    return {"model": model} if model.endswith(".json") else {}


def tuned_recipe(config: Config, search: str, objective: str) -> str:
    """The file with the hyperparameters that a search has chosen for an objective."""
    return f"{config['results']}/tune/{search}/{objective}.json"


def recipe_arguments(recipe: dict[str, Any], objective: str) -> dict[str, Any]:
    """The fields of `cloob.train.recipe.Recipe`: the recipe with the hyperparameters of one objective."""
    shared = {
        key: value
        for key, value in recipe.items()
        if key not in ("objectives", "eval_epochs", "embedding_eval_epochs")
    }
    return shared | recipe["objectives"][objective]


def num_processes(config: Config, name: str) -> int:
    """The number of training processes of a run."""
    return planned_run(config, name).processes or config["train"]["processes"]


def num_cpus(config: Config, processes: int) -> int:
    """The CPUs of so many training processes with their data-loader workers."""
    return processes * (1 + config["train"]["workers"])


def train_flags(config: Config, name: str) -> list[str]:
    """A run, its recipe, its objective's hyperparameters and its model, as flags of `cloob train`."""
    run, recipe = planned_run(config, name).run, recipe_of(config, name)
    arguments = recipe_arguments(recipe, run.objective) | {"keep_epochs": embedding_eval_epochs(recipe)}
    return flags(asdict(run) | arguments) + model_flags(config, run.architecture)


def model_flags(config: Config, architecture: str) -> list[str]:
    """The open_clip model of an architecture, as flags of `cloob train`; a JSON file is among the inputs."""
    if model_file(config, architecture):
        return []
    return flags({"model": config["architectures"][architecture]})


def setup_flags(config: Config) -> list[str]:
    """Checkpointing and logging of every run, as flags of `cloob train`."""
    settings = ("checkpoint_interval_minutes", "max_replaced_fraction", "node_local_dir", "wandb_project")
    return flags({key: config["train"][key] for key in settings})
