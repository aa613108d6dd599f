"""Checkpoints: whole or absent, read without executing anything, refused under another recipe."""

import zipfile
from pathlib import Path
from typing import Any

import torch

from cloob.common.atomic_files import atomic_write
from cloob.common.directories import sorted_glob
from cloob.common.errors import InputError, io_errno, io_errors_at
from cloob.common.json_files import read_json, write_json

Checkpoint = dict[str, Any]

_STARTS_WITHOUT_PROGRESS = 3


def checkpoint_path(folder: Path, epoch: int, step: int = 0) -> Path:
    """Where the checkpoint after whole epochs, and `step` steps of the next one, lies.

    In the order of their names, checkpoints are in the order of time.
    """
    return folder / (f"epoch_{epoch:04d}_step_{step:08d}.pt" if step else f"epoch_{epoch:04d}.pt")


def save_checkpoint(path: Path, checkpoint: Checkpoint) -> None:
    """Write a checkpoint beside `path` and rename it; equal checkpoints are equal files."""
    with atomic_write(path) as beside, beside.open("wb") as file:
        torch.save(checkpoint, file)  # given a path, it would write the path's name into the file


def checkpoints_in(folder: Path) -> list[Path]:
    """The running checkpoints of a run, oldest first."""
    return sorted_glob(folder, "epoch_*.pt")


def newest_checkpoint(folder: Path) -> Path | None:
    """The newest valid checkpoint, None where there is none; for the one process that owns the folder.

    Damaged ones (torn, a bit flipped, no checkpoint at all) are named in a warning and moved aside, to
    `*.damaged`. What a kill left of a checkpoint being written is deleted. Where the system cannot read one
    (`OSError`, out of memory) nothing is known of it: the error is raised, and nothing is renamed.
    """
    for unfinished in sorted_glob(folder, ".epoch_*.pt"):
        unfinished.unlink()
    for path in reversed(checkpoints_in(folder)):
        if (damage := _damage(path)) is None:
            return path
        print(f"warning: {path} is passed over, it does not load: {damage}", flush=True)
        path.rename(path.with_suffix(".pt.damaged"))
    return None


def _damage(path: Path) -> str | None:
    """What is wrong with the content of a checkpoint, or None; raises `OSError` where it cannot be read."""
    try:
        with io_errors_at(path):
            with zipfile.ZipFile(path) as archive:
                if (member := archive.testzip()) is not None:
                    return f"{member} has not the checksum that it was written with"
            torch.load(path, map_location="cpu", weights_only=True, mmap=True)["samples_seen"]
    except Exception as error:  # torn files make zipfile, pickle and torch raise nearly anything
        if io_errno(error) is not None:
            raise
        return str(error).splitlines()[0] if str(error) else type(error).__name__
    return None


def read_checkpoint(path: Path, identity: Checkpoint) -> Checkpoint:
    """A valid checkpoint; raises `InputError` with the keys in which it is not of the run `identity`."""
    with io_errors_at(path):
        checkpoint = torch.load(path, map_location="cpu", weights_only=True)
    there, here = _flat({key: checkpoint.get(key) for key in identity}), _flat(identity)
    different = [key for key in sorted(there.keys() | here.keys()) if there.get(key) != here.get(key)]
    if different:
        listed = ", ".join(f"{key} {there.get(key)} there, {here.get(key)} now" for key in different)
        raise InputError(f"{path}: of another run ({listed}); move {path.parent} away to start afresh")
    return checkpoint


def _flat(nested: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """{"recipe": {"batch_size": 8}} -> {"recipe.batch_size": 8}"""
    flat: dict[str, Any] = {}
    for key, value in nested.items():
        flat |= _flat(value, f"{prefix}{key}.") if isinstance(value, dict) else {prefix + key: value}
    return flat


def count_restart(folder: Path, samples_seen: int) -> int:
    """Note in the folder that a run starts after so many pairs; how often it had started before.

    Raises `InputError` where its last starts were all here: it ends before its next checkpoint, again and
    again, and a scheduler would go on for ever.
    """
    path = folder / "starts.json"
    starts = read_json(path) if path.exists() else []
    if starts[-_STARTS_WITHOUT_PROGRESS:] == [samples_seen] * _STARTS_WITHOUT_PROGRESS:
        raise InputError(
            f"{folder}: started {_STARTS_WITHOUT_PROGRESS} times after {samples_seen:,} pairs and never "
            "reached the next checkpoint. Its log says how it ended; give it more time (runtime in "
            "slurm/config.yaml) or checkpoints more often (train.checkpoint_interval_minutes), then delete "
            f"{path.name}"
        )
    write_json(path, [*starts, samples_seen])
    return len(starts)


def prune_checkpoints(folder: Path, keep: set[int]) -> None:
    """Delete all checkpoints but those at the end of the epochs in `keep`, and the two newest."""
    kept = {checkpoint_path(folder, epoch) for epoch in keep}
    for path in checkpoints_in(folder)[:-2]:
        if path not in kept:
            path.unlink()
