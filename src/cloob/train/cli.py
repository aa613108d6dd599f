"""`cloob train …`"""

import argparse
import sys
from contextlib import nullcontext
from pathlib import Path

from cloob.arguments import count, positive
from cloob.train.recipe import Recipe, Run, add_record, record_from

# sysexits.h's EX_TEMPFAIL: stopped when asked, saved; started again, the run goes on.
EXIT_STOPPED = 75


def add_verbs(verbs: argparse._SubParsersAction) -> None:
    """Add `run`."""
    run = verbs.add_parser(
        "run",
        help="train one run, or go on with it",
        description="Train one run on shards and leave final.pt and metrics.jsonl in its folder. Started "
        "again, it continues from its newest valid checkpoint. Start it once per GPU with torchrun: "
        "`torchrun --standalone --nproc-per-node 4 -m cloob train run …`. On SIGTERM or SIGUSR1 it finishes "
        f"the step, saves, and exits with {EXIT_STOPPED} (torchrun: with 1); started again, it goes on.",
    )
    run.add_argument("--shards", type=Path, required=True, help="shards.json of the corpus to train on")
    run.add_argument("--validation", type=Path, required=True, help="shards.json of held-out pairs")
    run.add_argument("--folder", type=Path, required=True, help="folder of the run")
    run.add_argument(
        "--model", required=True, help="open_clip's name of the model, or a JSON file of the same form"
    )
    run.add_argument(
        "--keep-epochs",
        type=positive,
        nargs="*",
        default=[],
        help="epochs whose checkpoints are kept for good",
    )
    run.add_argument(
        "--checkpoint-minutes",
        type=float,
        required=True,
        help="minutes after which a checkpoint is due, beside the one at the end of every epoch",
    )
    run.add_argument("--workers", type=count, required=True, help="loader processes per training process")
    add_record(run, Run, "the run")
    add_record(run, Recipe, "the recipe")
    run.set_defaults(run=_run)


def _run(options: argparse.Namespace) -> None:
    from cloob.files import only_one
    from cloob.train.distributed import joined
    from cloob.train.loop import Places, train

    places = Places(options.shards, options.validation, options.folder)
    with joined() as world, only_one(places.checkpoints) if world.first else nullcontext():
        finished = train(
            record_from(options, Run),
            record_from(options, Recipe),
            options.model,
            places,
            set(options.keep_epochs),
            options.checkpoint_minutes,
            options.workers,
            world,
        )
    if not finished:
        sys.exit(EXIT_STOPPED)
