"""Checkpoints: whole or absent, read without executing anything, refused under another recipe."""

from dataclasses import asdict
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import torch

from cloob.errors import InputError
from cloob.files import replacing
from cloob.train.recipe import Recipe, Run

Checkpoint = dict[str, Any]


def checkpoint_path(folder: Path, epoch: int, step: int = 0) -> Path:
    """Where the checkpoint after whole epochs, and `step` steps of the next one, lies.

    In the order of their names, checkpoints are in the order of time.
    """
    return folder / (f"epoch_{epoch:04d}_step_{step:08d}.pt" if step else f"epoch_{epoch:04d}.pt")


def save_checkpoint(path: Path, checkpoint: Checkpoint) -> None:
    """Write a checkpoint beside `path` and rename it."""
    with replacing(path) as beside:
        torch.save(checkpoint, beside)


def checkpoints_in(folder: Path) -> list[Path]:
    """The running checkpoints of a run, oldest first."""
    return sorted(folder.glob("epoch_*.pt"))


def newest_checkpoint(folder: Path, run: Run, recipe: Recipe) -> Checkpoint | None:
    """The newest readable checkpoint of a run, or None where there is none.

    A torn file is passed over with a warning; one that another recipe or run wrote raises
    `InputError` naming the keys that differ.
    """
    for path in reversed(checkpoints_in(folder)):
        try:
            checkpoint = torch.load(path, map_location="cpu", weights_only=True)
            there = checkpoint["recipe"], checkpoint["run"]
        except (RuntimeError, KeyError, EOFError, OSError, UnpicklingError) as error:
            reason = str(error).splitlines()[0] if str(error) else type(error).__name__
            print(f"warning: {path} is passed over, it does not load: {reason}", flush=True)
            continue
        different = recipe.difference(there[0])
        different |= {k: (v, there[1].get(k)) for k, v in asdict(run).items() if there[1].get(k) != v}
        if different:
            listed = ", ".join(f"{key} {there} there, {here} now" for key, (here, there) in different.items())
            raise InputError(f"{path}: made by another recipe ({listed}); move {folder} away to start afresh")
        return checkpoint
    return None


def prune_checkpoints(folder: Path, keep: set[int]) -> None:
    """Delete all checkpoints but those at the end of the epochs in `keep`, and the two newest."""
    kept = {checkpoint_path(folder, epoch) for epoch in keep}
    for path in checkpoints_in(folder)[:-2]:
        if path not in kept:
            path.unlink()
