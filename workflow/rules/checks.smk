"""The config checked: one line for each key that cannot be right, before any job runs."""

import difflib
import itertools
import math
import os
import sys
from collections import Counter
from contextlib import suppress
from pathlib import Path

import yaml
from jsonschema import Draft202012Validator
from jsonschema.validators import extend
from snakemake.exceptions import WorkflowError
from snakemake_interface_executor_plugins.settings import ExecMode

# Every job calls `cloob`: this checkout's, in whatever environment the job runs.
SOURCE = Path(workflow.basedir).parent / "src"
sys.path.insert(0, str(SOURCE))

from cloob.common.errors import InputError
from cloob.evaluate.testsets.spec import load_spec
from cloob.models.config import min_micro_batch_size, model_config
from cloob.common.yaml_file import hint, pitfalls

# JSON Schema takes 5.0 for an integer, and NaN for a number within all limits; the programs do not.
TYPES = Draft202012Validator.TYPE_CHECKER.redefine_many(
    {
        "integer": lambda checker, value: type(value) is int,
        "number": lambda checker, value: type(value) in (int, float) and math.isfinite(value),
    }
)
Validator = extend(Draft202012Validator, type_checker=TYPES)


def check_config(config):
    """Raise one readable error for everything in the config that cannot be right, before any job runs.

    What is null among the test sets and the published checkpoints is left out from here on, a test set without
    a folder has the one that it is fetched to, and paths are written as Snakemake compares them.
    """
    problems = (
        list(misread_files()) if workflow.exec_mode == ExecMode.DEFAULT else []
    )  # not again in every job
    schema = yaml.safe_load((Path(workflow.basedir) / "schemas" / "config.schema.yaml").read_text())
    errors = sorted(Validator(schema).iter_errors(config), key=lambda error: list(map(str, error.path)))
    if not errors and not problems:
        left_out = {name for name, one in config["testsets"].items() if one is None}
        for key in ("testsets", "released_checkpoints"):
            config[key] = {name: one for name, one in config[key].items() if one is not None}
        simplify_paths(config)
        for name, one in config["testsets"].items():
            one["folder"] = one.get("folder") or f"{config['results']}/evaluate/testsets/{name}"
            if one.get("probe_train_set") in left_out:  # ImageNetV2 without ImageNet
                one["probe_train_set"] = None
    problems += [explained(error) for error in errors]
    problems = problems or list(inconsistencies(config))
    if problems:
        raise WorkflowError("The config cannot be right:\n" + "\n".join(f"  - {line}" for line in problems))


def simplify_paths(config):
    """Write paths without ./ and //, which Snakemake takes for other paths than those without."""
    cc3m, yfcc15m = config["corpora"]["cc3m"], config["corpora"]["yfcc15m"]
    holders = [(config, ["results"]), (cc3m, ["train", "validation"]), (yfcc15m, ["metadata", "subset"])]
    holders += [(corpus["ready_made"], list(corpus["ready_made"])) for corpus in (cc3m, yfcc15m)]
    holders += [(one, ["spec", "folder", "local_files"]) for one in config["testsets"].values()]
    holders += [(one, ["shards"]) for one in config["evaluate"]["retrieval_sets"].values()]
    holders += [(config["architectures"], list(config["architectures"]))]
    for holder, keys in holders:
        for key in keys:
            if isinstance(holder.get(key), list):
                holder[key] = [str(Path(path)) for path in holder[key]]
            elif holder.get(key) is not None:
                holder[key] = str(Path(holder[key]))


def misread_files():
    """What YAML misreads in the config files, and Snakemake in the path of this checkout."""
    if set(str(SOURCE)) & set("{}:\n"):
        yield f"{SOURCE.parent}: move this checkout to a path without braces, colons and line breaks"
    for path in workflow.configfiles:
        yield from (f"{path}: {line}" for line in misreadings(path))


def misreadings(path):
    """What YAML misreads in a file. Files that are not YAML are JSON, or fail where they are read."""
    with suppress(yaml.YAMLError, UnicodeDecodeError):
        yield from pitfalls(Path(path).read_text(encoding="utf-8"))


def explained(error):
    """One line per schema error: the key, what is wrong, what may stand there."""
    key = ".".join(str(part) for part in error.absolute_path) or "(top level)"
    if error.validator == "additionalProperties":
        known = list(error.schema.get("properties", {}))
        unknown = [name for name in error.instance if name not in known]
        near = [match for name in unknown for match in difflib.get_close_matches(str(name), known, n=1)]
        found = f"did you mean {', '.join(near)}?" if near else f"known keys: {', '.join(known)}"
        return f"{key}: unknown key {', '.join(map(str, unknown))}; {found}"
    message = error.message
    if error.validator in ("pattern", "not"):
        message = f"{error.instance!r} does not match"
    elif error.validator == "type":
        types = error.validator_value
        how = hint(error.instance, [types] if isinstance(types, str) else types)
        message += f": {how}" if how else ""
    description = error.schema.get("description")
    remedy = (
        f" ({description}; explained in config/config.yaml)" if description else " (see config/config.yaml)"
    )
    return f"{key}: {message}{remedy}"


def inconsistencies(config):
    """What no schema can see: names that nothing defines, sizes that do not divide, files that are not there."""
    for name, recipe in config["recipes"].items():
        for key in ("eval_epochs", "embedding_eval_epochs"):
            if max(recipe[key], default=0) > recipe["epochs"]:
                yield f"recipes.{name}.{key}: {max(recipe[key])} is beyond epochs: {recipe['epochs']}"
        if recipe["batch_size"] % recipe["micro_batch_size"]:
            yield f"recipes.{name}.micro_batch_size: {recipe['micro_batch_size']} does not divide batch: {recipe['batch_size']}"
    yield from inconsistent_runs(config)
    if config["evaluate"]["linear_probe"]["l2_min"] > config["evaluate"]["linear_probe"]["l2_max"]:
        yield "evaluate.linear_probe.l2_min: greater than l2_max; exchange them"
    for name, one in config["testsets"].items():
        training = one.get("probe_train_set")
        if training and (config["testsets"].get(training) or {}).get("probe_train_set") != training:
            having = [each for each, its in config["testsets"].items() if its.get("probe_train_set") == each]
            yield (
                f"testsets.{name}.probe_train_set: {training} has no training images of its own; "
                f"those have {', '.join(having) or 'none'}"
            )
    for name, one in config["evaluate"]["retrieval_sets"].items():
        if (
            one["shards"].endswith(".json")
            and not is_made(one["shards"])
            and not os.path.isfile(one["shards"])
        ):
            yield f"evaluate.retrieval_sets.{name}.shards: no file {one['shards']}; correct the path"
    folders = {f"testsets.{name}.spec": one["spec"] for name, one in config["testsets"].items()}
    for key, path in folders.items():
        if is_made(path):
            continue
        if not os.path.isfile(path):
            yield f"{key}: no file {path}; correct the path, relative to the root of the repository"
            continue
        try:
            name = load_spec(path).name
            if key != f"testsets.{name}.spec":
                yield f"{key}: {path} describes the test set {name}; name both alike"
        except InputError as error:
            yield f"{key}: {error}"


def inconsistent_runs(config):
    """Of the grid of runs: what it names that is not there, or cannot be trained."""
    models = {}
    for name, architecture in config["architectures"].items():
        if is_made(architecture):
            continue
        if architecture.endswith(".json") and not os.path.isfile(architecture):
            yield f"architectures.{name}: no file {architecture}; correct the path, relative to the root of the repository"
            continue
        try:
            models[name] = model_config(architecture)
        except InputError as error:
            yield f"architectures.{name}: {error}"
    names = Counter()
    for position, row in enumerate(config["runs"]):
        recipe = config["recipes"].get(row["recipe"])
        if recipe is None:
            yield f"runs.{position}.recipe: no recipe {row['recipe']}; there are {', '.join(config['recipes'])}"
            continue
        if (recipe["batch_size"] // recipe["micro_batch_size"]) % config["train"]["processes"]:
            yield (
                f"train.processes: {config['train']['processes']} processes cannot share the "
                f"{recipe['batch_size'] // recipe['micro_batch_size']} micro-batches of recipe {row['recipe']} equally"
            )
        for objective in row["objectives"]:
            if objective not in recipe["objectives"]:
                yield f"runs.{position}.objectives: recipe {row['recipe']} does not say what {objective} needs"
        for architecture in row["architectures"]:
            if architecture not in config["architectures"]:
                known = ", ".join(config["architectures"])
                yield f"runs.{position}.architectures: no architecture {architecture}; there are {known}"
            elif architecture in models and recipe["micro_batch_size"] < min_micro_batch_size(
                models[architecture]
            ):
                yield (
                    f"recipes.{row['recipe']}.micro_batch_size: {recipe['micro_batch_size']} image is too few for the "
                    f"BatchNorm layers of {architecture}; give 2 or more"
                )
        names.update(list(names_of_runs(row)))
    for name, count in names.items():
        if count > 1:
            yield f"runs: {name} is given {count} times; leave it in one row"


def names_of_runs(row):
    """The runs of one row of the grid: {name: {corpus, objective, architecture, recipe, seed}}."""
    keys = ("corpus", "objective", "architecture", "recipe", "seed")
    each = [[row["corpus"]], row["objectives"], row["architectures"], [row["recipe"]], row["seeds"]]
    runs = [dict(zip(keys, values)) for values in itertools.product(*each)]
    return {"{corpus}-{objective}-{architecture}-{recipe}-seed{seed}".format(**run): run for run in runs}


def is_made(path):
    """Whether a path is in the results folder, so that the pipeline makes it."""
    return path.startswith(config["results"] + "/")


check_config(config)
