"""`cloob train …`"""

import argparse
import os
import sys
from contextlib import nullcontext
from dataclasses import asdict
from pathlib import Path

from cloob.common.arguments import fraction, non_negative_int, positive_int
from cloob.models.config import model_config
from cloob.train.launch import end_with_launcher, launch, record
from cloob.train.recipe import Recipe, Run, add_dataclass_arguments, check_recipe, dataclass_from_args
from cloob.train.signals import StopRequest, stop_request

# sysexits.h's EX_TEMPFAIL: stopped when asked, saved; started again, the run goes on.
EXIT_STOPPED = 75

_BY_HAND = f"""\
by hand, with any number of processes that divides the micro-batches of a batch:
  one process:   cloob train ...
  one node:      cloob train --processes 4 ...   (torchrun starts them)
  two nodes:     srun --nodes 2 --ntasks-per-node 4 --gpus-per-task 1 --cpus-per-task 9 \\
                     --kill-on-bad-exit=1 python -m cloob train ...
  (torchrun typed by hand prints a report of some 50 lines, and the cause once more below it;
  srun's processes meet at the step's first node; MASTER_ADDR and MASTER_PORT say otherwise)
`snakemake -n -p <results>/train/<run>/final.pt` prints the whole command of a run.

On SIGTERM or SIGUSR1 a run finishes the step, saves, and exits with {EXIT_STOPPED} (EX_TEMPFAIL); started
again, it goes on.
"""


def add_arguments(run: argparse.ArgumentParser) -> None:
    """Add the arguments of `cloob train`, which has no verbs."""
    run.description = (
        "Train one run on shards; writes final.pt and metrics.jsonl to its folder. Rerun after an "
        "interruption, with any number of processes, it resumes from the newest valid checkpoint."
    )
    run.epilog = _BY_HAND
    run.formatter_class = argparse.RawDescriptionHelpFormatter
    run.add_argument("--shards", type=Path, required=True, help="shards.json of the corpus to train on")
    run.add_argument("--validation", type=Path, required=True, help="shards.json of held-out pairs")
    run.add_argument("--folder", type=Path, required=True, help="folder of the run")
    run.add_argument(
        "--model", required=True, help="open_clip's name of the model, or a JSON file of the same form"
    )
    run.add_argument(
        "--keep-epochs",
        type=positive_int,
        nargs="*",
        action="extend",
        default=[],
        help="epochs whose checkpoints are kept for good",
    )
    run.add_argument(
        "--checkpoint-interval-minutes",
        type=float,
        required=True,
        help="minutes after which a checkpoint is due, beside the one at the end of every epoch",
    )
    run.add_argument(
        "--workers", type=non_negative_int, required=True, help="loader processes per training process"
    )
    run.add_argument(
        "--max-replaced-fraction",
        type=fraction,
        default=0.02,
        help="share of a batch whose images may fail to decode; more of them end the run",
    )
    run.add_argument(
        "--processes",
        type=positive_int,
        default=1,
        help="training processes to start on this node, one per GPU; 1 where srun or torchrun starts them",
    )
    run.add_argument(
        "--node-local-dir",
        default="",
        help="folder on the node's own disk that the shards are copied to first; may hold $VARIABLES",
    )
    run.add_argument(
        "--wandb-project", default="", help="log to this project of Weights & Biases too (pip install wandb)"
    )
    add_dataclass_arguments(run, Run, "the run")
    add_dataclass_arguments(run, Recipe, "the recipe")
    run.set_defaults(run=_run)


def _run(options: argparse.Namespace) -> None:
    if options.processes > 1:
        launch(options.processes, options.arguments, EXIT_STOPPED)
        return
    end_with_launcher()
    stop = stop_request()  # from the first second on; what is imported here takes several
    try:
        finished = _train(options, stop)
    except BaseException as error:
        record(error)
        raise
    if not finished:
        sys.exit(EXIT_STOPPED)


def _train(options: argparse.Namespace, stop: StopRequest) -> bool:
    run, recipe = dataclass_from_args(options, Run), dataclass_from_args(options, Recipe)
    check_recipe(recipe, objective=run.objective, model_config=model_config(options.model))
    from cloob.common.locks import exclusive_dir_lock
    from cloob.train.distributed import joined
    from cloob.train.local_copy import on_scratch
    from cloob.train.loop import Places, train

    places = {name: getattr(options, name) for name in ("folder", "shards", "validation")}
    identity = {
        "run": run.name,
        "model": options.model,
        **{name: os.path.abspath(path) for name, path in places.items()},  # noqa: PTH100 (links: nodes differ)
    } | {f"recipe.{name}": str(value) for name, value in asdict(recipe).items()}
    with (
        joined(identity) as world,
        exclusive_dir_lock(options.folder / "checkpoints") if world.first else nullcontext(),
        on_scratch(options.shards, options.node_local_dir, world, stop) as shards,
    ):
        if shards is None:
            return False
        return train(
            run,
            recipe,
            options.model,
            Places(shards, options.validation, options.folder),
            set(options.keep_epochs),
            options.checkpoint_interval_minutes,
            options.workers,
            world,
            stop,
            options.wandb_project,
            options.max_replaced_fraction,
        )
