"""Checkpoints: written atomically, loaded without executing code, rejected if they are of another run."""

import re
import shutil
import time
import zipfile
from collections.abc import Collection
from pathlib import Path
from typing import Any

import torch

from cloob.common.atomic_files import atomic_write
from cloob.common.directories import sorted_glob
from cloob.common.errors import InputError, io_errno, io_errors_at
from cloob.common.json_files import read_json, write_json
from cloob.train.distributed import DistributedContext
from cloob.train.recipe import RECIPE_DEFAULTS

Checkpoint = dict[str, Any]

_STARTS_WITHOUT_PROGRESS = 3
# What training resumes from.
_RESUMED = ("samples_seen", "state_dict", "optimizer", "scaler")


def write_checkpoint(path: Path, checkpoint: Checkpoint) -> None:
    """Write a checkpoint atomically; equal checkpoints are equal files."""
    with atomic_write(path) as temporary, temporary.open("wb") as file:
        torch.save(checkpoint, file)  # given a path, torch would store the name of the file in it


def read_checkpoint(path: Path, identity: Checkpoint) -> Checkpoint:
    """Load a valid checkpoint of training.

    Raises `InputError` with the keys of `identity` in which it differs, and if it has no optimizer state.
    """
    with io_errors_at(path):
        checkpoint = torch.load(path, map_location="cpu", weights_only=True)
    if different := _differences(checkpoint, identity):
        listed = ", ".join(different.values())
        raise InputError(f"{path}: belongs to another run ({listed}); move {path.parent} away to start anew")
    if missing := [key for key in _RESUMED if key not in checkpoint]:
        raise InputError(
            f"{path}: has no {', '.join(missing)}, like a final.pt, so training cannot resume from it; "
            "move it away"
        )
    return checkpoint


def _differences(checkpoint: Checkpoint, identity: Checkpoint) -> dict[str, str]:
    """The keys of `identity` in which a checkpoint differs, each with a description."""
    stored = _flatten(_with_recipe_defaults({key: checkpoint.get(key) for key in identity}))
    current = _flatten(_with_recipe_defaults(identity))
    return {
        key: f"{key} was {stored.get(key)}, is {current.get(key)}"
        for key in sorted(stored.keys() | current.keys())
        if stored.get(key) != current.get(key)
    }


class Checkpointer:
    """The checkpoints of a run during training, in its checkpoint folder.

    A checkpoint is named by its epoch, and by the step within the epoch unless it is at the end of one. Files
    of other names, such as `epoch_best.pt`, are neither read nor deleted. `identity` (run, recipe, model,
    corpus) is stored in every checkpoint and compared on resume. The checkpoints at the end of the epochs in
    `keep_epochs` are never deleted. Checkpoints that differ only in `replaceable` keys of the identity (a
    search has chosen another recipe since) are set aside, and training starts anew. Only the main process
    writes; the others read.
    """

    def __init__(
        self,
        folder: Path,
        identity: Checkpoint,
        keep_epochs: Collection[int] = (),
        interval_minutes: float = float("inf"),
        replaceable: Collection[str] = (),
    ) -> None:
        self.folder, self.identity = folder, identity
        self.keep_epochs, self.interval_minutes = keep_epochs, interval_minutes
        self.replaceable = replaceable
        self._saved = time.monotonic()

    def path(self, epoch: int, step: int = 0) -> Path:
        """The checkpoint after `epoch` whole epochs and `step` steps of the next one."""
        name = f"epoch_{epoch:04d}_step_{step:08d}.pt" if step else f"epoch_{epoch:04d}.pt"
        return self.folder / name

    def paths(self) -> list[Path]:
        """The existing checkpoints, oldest first."""
        paths = sorted_glob(self.folder, "epoch_*.pt")
        return sorted(filter(position, paths), key=position)

    def latest(self, context: DistributedContext) -> Checkpoint | None:
        """The newest valid checkpoint, the same in all processes, or None. Raises `InputError`."""
        path = context.broadcast(self._latest_of_this_recipe() if context.is_main else None)
        return None if path is None else read_checkpoint(path, self.identity)

    def _latest_of_this_recipe(self) -> Path | None:
        """The newest valid checkpoint; None after those of a recipe chosen earlier were set aside."""
        path = self.latest_path()
        if path is None or not self.replaceable:
            return path
        with io_errors_at(path):
            checkpoint = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
        different = _differences(checkpoint, self.identity)
        if not different or not different.keys() <= set(self.replaceable):
            return path
        aside = self.folder / "replaced"
        shutil.rmtree(aside, ignore_errors=True)
        aside.mkdir()
        for old in (*self.paths(), *self.folder.glob("starts.json")):
            old.rename(aside / old.name)
        print(
            f"warning: the search has chosen another recipe since ({', '.join(different.values())}); "
            f"training starts anew, older checkpoints are in {aside}",
            flush=True,
        )
        return None

    def latest_path(self) -> Path | None:
        """The newest valid checkpoint, or None. Only the process that has locked the folder may call this.

        Damaged files (truncated, corrupt, not a checkpoint) are reported in a warning and renamed to
        `*.damaged`; temporary files of a killed process are deleted. If the system cannot read a file
        (`OSError`, out of memory), that does not mean that the file is damaged: the error is raised, and
        nothing is renamed.
        """
        for temporary in sorted_glob(self.folder, ".epoch_*.pt"):
            temporary.unlink()
        for path in reversed(self.paths()):
            if (damage := _damage(path)) is None:
                return path
            print(f"warning: {path} is skipped because it does not load: {damage}", flush=True)
            path.rename(path.with_suffix(".pt.damaged"))
        return None

    def is_due(self) -> bool:
        """Whether the last checkpoint (or the start) is more than `interval_minutes` ago."""
        return time.monotonic() - self._saved > 60 * self.interval_minutes

    def save(self, epoch: int, step: int, checkpoint: Checkpoint) -> None:
        """Write the checkpoint after `epoch` epochs and `step` steps, with the identity; prune older ones."""
        write_checkpoint(self.path(epoch, step), self.identity | {"epoch": epoch} | checkpoint)
        self.prune()
        self._saved = time.monotonic()

    def prune(self) -> None:
        """Delete all checkpoints except the two newest and those at the end of `keep_epochs`."""
        protected = {self.path(epoch) for epoch in self.keep_epochs}
        for path in self.paths()[:-2]:
            if path not in protected:
                path.unlink()

    def register_restart(self, samples_seen: int, is_complete: bool = False) -> int:
        """Record that the run starts after `samples_seen` pairs; return the number of earlier starts.

        A complete run, which only writes its results again, is not recorded. Raises `InputError` if the last
        three starts were all at the same point: the run always ends before its next checkpoint, and a
        scheduler would restart it forever.
        """
        path = self.folder / "starts.json"
        starts = read_json(path) if path.exists() else []
        if is_complete:
            return len(starts)
        if starts[-_STARTS_WITHOUT_PROGRESS:] == [samples_seen] * _STARTS_WITHOUT_PROGRESS:
            raise InputError(
                f"{self.folder}: started {_STARTS_WITHOUT_PROGRESS} times after {samples_seen:,} pairs "
                "without reaching the next checkpoint. See its log for the reason; increase its time limit "
                "(runtime in slurm/config.yaml) or save checkpoints more often "
                f"(train.checkpoint_interval_minutes), then delete {path.name}"
            )
        write_json(path, [*starts, samples_seen])
        return len(starts)

    def forget_starts(self) -> None:
        """Delete the record of `register_restart`: a diverged trial is finished, and may be trained again."""
        (self.folder / "starts.json").unlink(missing_ok=True)


def position(path: Path) -> tuple[int, ...]:
    """(epoch,) or (epoch, step) in the name of a checkpoint; empty for other names."""
    match = re.fullmatch(r"epoch_([0-9]+)(?:_step_([0-9]+))?\.pt", path.name)
    return tuple(int(number) for number in match.groups() if number) if match else ()


def _damage(path: Path) -> str | None:
    """Why the content of a checkpoint is damaged, or None; raises `OSError` if it cannot be read."""
    try:
        with io_errors_at(path):
            with zipfile.ZipFile(path) as archive:
                if (member := archive.testzip()) is not None:
                    return f"the checksum of {member} does not match"
            torch.load(path, map_location="cpu", weights_only=True, mmap=True)["samples_seen"]
    except Exception as error:  # damaged files make zipfile, pickle and torch raise nearly anything
        if io_errno(error) is not None:
            raise
        return str(error).splitlines()[0] if str(error) else type(error).__name__
    return None


def _with_recipe_defaults(identity: Checkpoint) -> Checkpoint:
    """The identity with the hyperparameters that did not exist when a checkpoint was written."""
    recipe = identity.get("recipe")
    return identity | {"recipe": RECIPE_DEFAULTS | recipe} if isinstance(recipe, dict) else identity


def _flatten(nested: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """{"recipe": {"batch_size": 8}} -> {"recipe.batch_size": 8}"""
    flat: dict[str, Any] = {}
    for key, value in nested.items():
        flat |= _flatten(value, f"{prefix}{key}.") if isinstance(value, dict) else {prefix + key: value}
    return flat
