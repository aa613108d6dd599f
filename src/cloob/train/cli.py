"""Command line of the train stage: `cloob train …`, which has no subcommands."""

import argparse
import os
import sys
from contextlib import nullcontext
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from cloob.common.arguments import fraction, non_negative_float, non_negative_int, positive_int
from cloob.common.errors import InputError
from cloob.models.config import model_config
from cloob.train.launch import die_with_launcher, launch, record_exception
from cloob.train.recipe import Recipe, Run, add_dataclass_arguments, check_recipe, dataclass_from_args
from cloob.train.signals import StopRequest, graceful_stop, ignore_stop_signals
from cloob.train.tuned_recipe import read_tuned_values

# EX_TEMPFAIL of sysexits.h: stopped on request with a checkpoint; rerun to resume.
EXIT_STOPPED = 75

_EPILOG = f"""\
To start a run manually, with any number of processes that divides the number of micro-batches per batch:
  one process:   cloob train ...
  one node:      cloob train --processes 4 ...   (starts them with torchrun)
  two nodes:     srun --nodes 2 --ntasks-per-node 4 --gpus-per-task 1 --cpus-per-task 9 \\
                     --kill-on-bad-exit=1 python -m cloob train ...
  Processes started by srun connect to the first node of the job step, unless MASTER_ADDR and MASTER_PORT are
  set. If you start torchrun yourself, the cause of a failure is printed again below its long report.
`snakemake -n -p <results>/train/<run>/final.pt` prints the complete command of a run.

On SIGTERM or SIGUSR1, a run finishes the step, saves a checkpoint and exits with status {EXIT_STOPPED}
(EX_TEMPFAIL). Rerun the same command to resume. With --processes, processes that have not exited ten minutes
after the signal are killed; torchrun kills them after 30 seconds, unless you give it --shutdown-timeout.
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `cloob train`."""
    parser.description = (
        "Train one run on shards; writes final.pt, metrics.jsonl and open_clip/ to its folder. After an\n"
        "interruption, rerun it with any number of processes; it resumes from the latest valid checkpoint."
    )
    parser.epilog = _EPILOG
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("--shards", type=Path, required=True, help="shards.json of the training corpus")
    parser.add_argument(
        "--validation", type=Path, required=True, help="shards.json of held-out image-text pairs"
    )
    parser.add_argument("--folder", type=Path, required=True, help="output folder of the run")
    parser.add_argument(
        "--model", required=True, help="open_clip model name, or a JSON file with a model configuration"
    )
    parser.add_argument(
        "--keep-epochs",
        type=positive_int,
        nargs="*",
        action="extend",
        default=[],
        help="epochs whose checkpoints are never deleted",
    )
    parser.add_argument(
        "--checkpoint-interval-minutes",
        type=non_negative_float,
        required=True,
        help="time between checkpoints within an epoch; one is also saved at the end of every epoch",
    )
    parser.add_argument(
        "--workers", type=non_negative_int, required=True, help="data loader workers per training process"
    )
    parser.add_argument(
        "--max-replaced-fraction",
        type=fraction,
        default=0.02,
        help="largest fraction of a batch whose images may fail to decode; above it, the run fails",
    )
    parser.add_argument(
        "--processes",
        type=positive_int,
        default=1,
        help="training processes to start on this node, one per GPU; 1 if srun or torchrun starts them",
    )
    parser.add_argument(
        "--node-local-dir",
        default="",
        help="folder on the node's local disk to copy the shards to first; may contain $VARIABLES",
    )
    parser.add_argument(
        "--wandb-project", default="", help="also log to this Weights & Biases project (pip install wandb)"
    )
    parser.add_argument(
        "--trial",
        action="store_true",
        help="trial of a hyperparameter search: validate after the last epoch, and write only "
        "metrics.jsonl, also if the loss diverges",
    )
    parser.add_argument(
        "--tuned-recipe",
        type=Path,
        help="JSON file of `cloob tune select`, whose values replace those of the recipe given here",
    )
    add_dataclass_arguments(parser, Run, "run")
    add_dataclass_arguments(parser, Recipe, "recipe")
    parser.set_defaults(run=_main)


def _main(args: argparse.Namespace) -> None:
    if args.processes > 1:
        _checked_run_and_recipe(args)  # here, because every process would report the same problem
        launch(args.processes, args.arguments, EXIT_STOPPED)
        return
    die_with_launcher()
    stop = graceful_stop()  # before the imports, which take seconds
    try:
        finished = _train(args, stop)
    except BaseException as error:
        record_exception(error)
        raise
    if not finished:
        sys.exit(EXIT_STOPPED)
    ignore_stop_signals()


def _checked_run_and_recipe(args: argparse.Namespace) -> tuple[Run, Recipe]:
    run, recipe = dataclass_from_args(args, Run), dataclass_from_args(args, Recipe)
    if not 0 <= run.seed < 2**63:
        raise InputError(f"--seed: {run.seed} is not between 0 and 2**63 - 1; give another")
    recipe = replace(recipe, **_tuned_values(args))
    config = model_config(args.model)
    check_recipe(recipe, objective=run.objective, processes=args.processes, model_config=config)
    return run, recipe


def _tuned_values(args: argparse.Namespace) -> dict[str, Any]:
    return read_tuned_values(args.tuned_recipe, args.objective) if args.tuned_recipe else {}


def _train(args: argparse.Namespace, stop: StopRequest) -> bool:
    run, recipe = _checked_run_and_recipe(args)
    from cloob.common.locks import exclusive_dir_lock
    from cloob.train.distributed import init_distributed
    from cloob.train.local_copy import stage_shards_locally
    from cloob.train.loop import train
    from cloob.train.setup import RunPaths, TrainOptions

    paths = {name: getattr(args, name) for name in ("folder", "shards", "validation")}
    identity = {
        "run": run.name,
        "model": args.model,
        # Not resolved: symbolic links may point elsewhere on other nodes.
        **{name: os.path.abspath(path) for name, path in paths.items()},  # noqa: PTH100
        **{f"recipe.{name}": str(value) for name, value in asdict(recipe).items()},
    }
    options = TrainOptions(
        frozenset(args.keep_epochs),
        args.checkpoint_interval_minutes,
        args.workers,
        args.wandb_project,
        args.max_replaced_fraction,
        args.trial,
        frozenset(_tuned_values(args)),
    )
    with (
        init_distributed(identity) as context,
        exclusive_dir_lock(args.folder / "checkpoints") if context.is_main else nullcontext(),
        stage_shards_locally(args.shards, args.node_local_dir, context, stop) as shards,
    ):
        if shards is None:
            return False
        run_paths = RunPaths(shards, args.validation, args.folder)
        return train(run, recipe, args.model, run_paths, context, stop, options)
