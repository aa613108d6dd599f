"""What all stages share: what the user supplies, the grid of runs, flags for the programs."""

import os
import re
from collections.abc import Iterable
from pathlib import Path

from snakemake.exceptions import WorkflowError
from snakemake.logging import logger
from snakemake_interface_executor_plugins.settings import ExecMode

shell.prefix('set -euo pipefail; export PYTHONPATH={SOURCE:q}; cloob() {{ python -m cloob "$@"; }}; ')


def supplies():
    """What only the user can supply and is not there yet: key of the config -> path."""
    cc3m, yfcc15m = config["corpora"]["cc3m"], config["corpora"]["yfcc15m"]
    paths = {
        f"corpora.cc3m.{split}": cc3m[split]
        for split in ("train", "validation")
        if not ready_made("cc3m", split)
    }
    metadata = [yfcc15m["metadata"]] if isinstance(yfcc15m["metadata"], str) else yfcc15m["metadata"]
    if not ready_made("yfcc15m", "train"):
        paths |= {
            "corpora.yfcc15m.metadata" + (f".{part}" if part else ""): path
            for part, path in enumerate(metadata)
        }
        paths["corpora.yfcc15m.subset"] = yfcc15m["subset"]
    paths |= {
        f"corpora.{corpus}.ready_made.{split}": folder
        for corpus, one in config["corpora"].items()
        for split, folder in one["ready_made"].items()
        if folder
    }
    paths |= {f"testsets.{name}.folder": one["folder"] for name, one in config["testsets"].items()}
    paths |= {
        f"testsets.{name}.local_files": one["local_files"]
        for name, one in config["testsets"].items()
        if one.get("local_files") and is_made(one["folder"])
    }
    return {key: path for key, path in paths.items() if not is_made(path) and not os.path.exists(path)}


def announce_supplies():
    """Say once, with the plan, what has to be supplied before a real run."""
    if workflow.exec_mode == ExecMode.DEFAULT and supplies():
        logger.warning(wanted_supplies(supplies().values()))


def wanted_supplies(paths):
    """One message that says what is missing and under which key of the config it goes."""
    keys = {path: [key for key, its in supplies().items() if its == path] for path in paths}
    lines = "\n".join(f"  - {path}  (key {', '.join(keys[path])})" for path in sorted(keys))
    return (
        "These are yours to supply; put them there, or set their keys in config/config.yaml\n"
        f"(config/README.md says where each can be asked for):\n{lines}"
    )


def refuse_without_supplies(dag):
    """Stop a real run before its first job where something is missing that only the user can supply."""
    paths = {str(path) for job in dag.needrun_jobs() if job.rule.name == "user_inputs" for path in job.output}
    if paths:
        raise WorkflowError(wanted_supplies(paths))


def grid_of_runs(config):
    """Every run of the grid by its name: {name: {corpus, objective, architecture, recipe, seed}}."""
    return {name: run for row in config["runs"] for name, run in names_of_runs(row).items()}


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


def embeddable(text):
    """Text as a parameter of a rule: Snakemake's report writes parameters into a <script>, which "</script>" ends.

    `--label` takes the escapes as they are in JSON; a control character would end the shell command.
    """
    return re.sub(r"[\\<\x00-\x1f\x7f]", lambda found: f"\\u{ord(found[0]):04x}", text)


def recipe_of(wildcards):
    """The recipe of a run."""
    return config["recipes"][RUNS[wildcards.run]["recipe"]]


def embedding_eval_epochs(recipe):
    """The epochs whose embeddings are looked at: those of the recipe and all that are reported."""
    return sorted({*recipe["eval_epochs"], *recipe["embedding_eval_epochs"]})


def train_flags(wildcards):
    """The run, its recipe, what its objective needs, and where it trains, as flags of `cloob train`."""
    run, recipe = RUNS[wildcards.run], dict(recipe_of(wildcards))
    of_objective = recipe.pop("objectives")[run["objective"]]
    del recipe["eval_epochs"], recipe["embedding_eval_epochs"]
    where = {
        "model": config["architectures"][run["architecture"]],
        "keep_epochs": embedding_eval_epochs(recipe_of(wildcards)),
        "checkpoint_interval_minutes": config["train"]["checkpoint_interval_minutes"],
        "max_replaced_fraction": config["train"]["max_replaced_fraction"],
        "node_local_dir": config["train"]["node_local_dir"],
        "wandb_project": config["train"]["wandb_project"],
    }
    return flags(run | recipe | of_objective | where)


RUNS = grid_of_runs(config)
