"""What all stages share: the config checked, the grid of runs, flags for the programs."""

import difflib
import itertools
from collections.abc import Iterable
from pathlib import Path

import yaml
from jsonschema import Draft202012Validator
from snakemake.exceptions import WorkflowError
from snakemake.logging import logger
from snakemake_interface_executor_plugins.settings import ExecMode

# Every job calls `cloob`: this checkout's, in whatever environment the job runs.
SOURCE = Path(workflow.basedir).parent / "src"
shell.prefix('set -euo pipefail; export PYTHONPATH={SOURCE:q}; cloob() {{ python -m cloob "$@"; }}; ')


def check_config(config):
    """Raise one readable error for everything in the config that cannot be right, before any job runs.

    What is null among the test sets and the published checkpoints is left out from here on, and a test set
    without a folder has the one that it is fetched to.
    """
    schema = yaml.safe_load((Path(workflow.basedir) / "schemas" / "config.schema.yaml").read_text())
    errors = sorted(Draft202012Validator(schema).iter_errors(config), key=lambda error: list(error.path))
    if not errors:
        left_out = {name for name, one in config["testsets"].items() if one is None}
        for key in ("testsets", "published"):
            config[key] = {name: one for name, one in config[key].items() if one is not None}
        for name, one in config["testsets"].items():
            one["folder"] = one.get("folder") or f"{config['results']}/evaluate/testsets/{name}"
            if one.get("training") in left_out:  # ImageNetV2 without ImageNet
                one["training"] = None
    problems = [explained(error) for error in errors] or list(inconsistencies(config))
    if problems:
        raise WorkflowError("The config cannot be right:\n" + "\n".join(f"  - {line}" for line in problems))


def explained(error):
    """One line per schema error: the key, what is wrong, what may stand there."""
    key = ".".join(str(part) for part in error.absolute_path) or "(top level)"
    if error.validator == "additionalProperties":
        known = list(error.schema.get("properties", {}))
        unknown = [name for name in error.instance if name not in known]
        near = [match for name in unknown for match in difflib.get_close_matches(str(name), known, n=1)]
        hint = f"did you mean {', '.join(near)}?" if near else f"known keys: {', '.join(known)}"
        return f"{key}: unknown key {', '.join(map(str, unknown))}; {hint}"
    description = error.schema.get("description")
    remedy = (
        f" ({description}; explained in config/config.yaml)" if description else " (see config/config.yaml)"
    )
    return f"{key}: {error.message}{remedy}"


def inconsistencies(config):
    """What no schema can see: names that nothing defines, sizes that do not divide, files that are not there."""
    for name, recipe in config["recipes"].items():
        if max(recipe["report_epochs"]) > recipe["epochs"]:
            yield f"recipes.{name}.report_epochs: {max(recipe['report_epochs'])} is beyond epochs: {recipe['epochs']}"
        if max(recipe["structure_epochs"], default=0) > recipe["epochs"]:
            yield f"recipes.{name}.structure_epochs: {max(recipe['structure_epochs'])} is beyond epochs: {recipe['epochs']}"
        if recipe["batch"] % recipe["micro_batch"]:
            yield f"recipes.{name}.micro_batch: {recipe['micro_batch']} does not divide batch: {recipe['batch']}"
    for position, row in enumerate(config["runs"]):
        recipe = config["recipes"].get(row["recipe"])
        if recipe is None:
            yield f"runs.{position}.recipe: no recipe {row['recipe']}; there are {', '.join(config['recipes'])}"
            continue
        if (recipe["batch"] // recipe["micro_batch"]) % config["train"]["processes"]:
            yield (
                f"train.processes: {config['train']['processes']} processes cannot share the "
                f"{recipe['batch'] // recipe['micro_batch']} micro-batches of recipe {row['recipe']} equally"
            )
        for objective in row["objectives"]:
            if objective not in recipe["objectives"]:
                yield f"runs.{position}.objectives: recipe {row['recipe']} does not say what {objective} needs"
        for architecture in row["architectures"]:
            if architecture not in config["architectures"]:
                known = ", ".join(config["architectures"])
                yield f"runs.{position}.architectures: no architecture {architecture}; there are {known}"
    for name, training in probed().items():
        if training not in probed() or probed()[training] != training:
            having = ", ".join(each for each, its in probed().items() if each == its)
            yield f"testsets.{name}.training: {training} has no training images of its own; those have {having}"
    files = {f"architectures.{name}": model for name, model in config["architectures"].items()}
    files = {key: path for key, path in files.items() if path.endswith(".json")}
    files |= {f"testsets.{name}.description": one["description"] for name, one in config["testsets"].items()}
    for key, path in files.items():
        if not is_made(path) and not Path(path).is_file():
            yield f"{key}: no file {path}; correct the path, relative to the root of the repository"


def is_made(path):
    """Whether a path lies in the results folder, so that the pipeline makes it."""
    return path.startswith(config["results"] + "/")


def supplies():
    """What only the user can supply and is not there yet: key of the config -> path."""
    cc, yfcc = config["corpora"]["cc"], config["corpora"]["yfcc"]
    paths = {
        f"corpora.cc.{split}": cc[split] for split in ("train", "validation") if not ready_made("cc", split)
    }
    metadata = [yfcc["metadata"]] if isinstance(yfcc["metadata"], str) else yfcc["metadata"]
    if not ready_made("yfcc", "train"):
        paths |= {
            "corpora.yfcc.metadata" + (f".{part}" if part else ""): path for part, path in enumerate(metadata)
        }
        paths["corpora.yfcc.subset"] = yfcc["subset"]
    paths |= {
        f"corpora.{corpus}.ready_made.{split}": folder
        for corpus, one in config["corpora"].items()
        for split, folder in one["ready_made"].items()
        if folder
    }
    paths |= {f"testsets.{name}.folder": one["folder"] for name, one in config["testsets"].items()}
    paths |= {
        f"testsets.{name}.original": one["original"]
        for name, one in config["testsets"].items()
        if one.get("original") and is_made(one["folder"])
    }
    return {key: path for key, path in paths.items() if not is_made(path) and not Path(path).exists()}


def announce_supplies():
    """Say once, with the plan, what has to be supplied before a real run."""
    if workflow.exec_mode == ExecMode.DEFAULT and supplies():
        logger.warning(wanted_supplies(supplies().values()))


def wanted_supplies(paths):
    """One message that says what is missing and under which key of the config it goes."""
    keys = {path: key for key, path in supplies().items()}
    lines = "\n".join(f"  - {path}  (key {keys[path]})" for path in sorted(paths))
    return (
        "These are yours to supply; put them there, or set their keys in config/config.yaml\n"
        f"(config/README.md says where each can be asked for):\n{lines}"
    )


def refuse_without_supplies(dag):
    """Stop a real run before its first job where something is missing that only the user can supply."""
    paths = {str(path) for job in dag.needrun_jobs() if job.rule.name == "supply" for path in job.output}
    if paths:
        raise WorkflowError(wanted_supplies(paths))


def grid_of_runs(config):
    """Every run of the grid by its name: {name: {corpus, objective, architecture, recipe, seed}}."""
    runs = {}
    for row in config["runs"]:
        for objective, architecture, seed in itertools.product(
            row["objectives"], row["architectures"], row["seeds"]
        ):
            name = f"{row['corpus']}-{objective}-{architecture}-{row['recipe']}-seed{seed}"
            runs[name] = {
                "corpus": row["corpus"],
                "objective": objective,
                "architecture": architecture,
                "recipe": row["recipe"],
                "seed": seed,
            }
    return runs


def flags(mapping):
    """{"learning_rate": 0.1, "names": ["a", "b"]} -> ["--learning-rate=0.1", "--names=a", "--names=b"].

    The words of a command line as they are: a shell command quotes each by `{params.flags:q}`. Without None.
    Given by a function, because Snakemake fills in wildcards in what is not.
    """
    words = []
    for key, value in mapping.items():
        values = [value] if isinstance(value, str) or not isinstance(value, Iterable) else value
        words += [f"--{key.replace('_', '-')}={one}" for one in values if one is not None]
    return words


def named(files):
    """{name: path} -> ["name=path", ...]"""
    return [f"{name}={path}" for name, path in files.items()]


def recipe_of(wildcards):
    """The recipe of a run."""
    return config["recipes"][RUNS[wildcards.run]["recipe"]]


def structure_epochs(recipe):
    """The epochs whose embeddings are looked at: those of the recipe and all that are reported."""
    return sorted({*recipe["report_epochs"], *recipe["structure_epochs"]})


def train_flags(wildcards):
    """The run, its recipe, what its objective needs, and where it trains, as flags of `cloob train run`."""
    run, recipe = RUNS[wildcards.run], dict(recipe_of(wildcards))
    of_objective = recipe.pop("objectives")[run["objective"]]
    del recipe["report_epochs"], recipe["structure_epochs"]
    where = {
        "model": config["architectures"][run["architecture"]],
        "keep_epochs": structure_epochs(recipe_of(wildcards)),
        "checkpoint_minutes": config["train"]["checkpoint_minutes"],
        "max_replaced_fraction": config["train"]["max_replaced_fraction"],
        "scratch": config["train"]["scratch"],
        "wandb_project": config["train"]["wandb_project"],
    }
    return flags(run | recipe | of_objective | where)
