"""A run that is resumed on the same device ends with the same bits, with deterministic algorithms."""

import shutil
from pathlib import Path

import pytest
import torch

from cloob.train.distributed import init_distributed
from cloob.train.loop import train
from cloob.train.recipe import Run
from cloob.train.setup import RunPaths, TrainOptions
from cloob.train.signals import StopRequest
from tests.gpu.small_training import ARCHITECTURE
from tests.helpers.captioned_shards import shards_of
from tests.helpers.recipes import recipe

EPOCHS, PAIRS = 2, 48  # three steps per epoch


def train_whole_and_resumed(_: int, folder: Path, precision: str, objective: str) -> None:
    """Train a run, then the rest of it from its checkpoint after the first epoch."""
    torch.use_deterministic_algorithms(True)
    manifest = shards_of(folder / "shards", [(n, f"photo {n} of a bird") for n in range(PAIRS)]).path
    run = Run("cc3m", objective, "RN_small", "test", 3)
    used = recipe(epochs=EPOCHS, batch_size=16, micro_batch_size=8, precision=precision)
    options = TrainOptions(keep_epochs=frozenset([1]), workers=1)
    with init_distributed() as context:
        for name in ("whole", "resumed"):
            paths = RunPaths(manifest, manifest, folder / name)
            if name == "resumed":
                paths.checkpoints.mkdir(parents=True)
                shutil.copy(folder / "whole" / "checkpoints" / "epoch_0001.pt", paths.checkpoints)
            assert train(run, used, ARCHITECTURE, paths, context, StopRequest(), options)


@pytest.mark.parametrize(
    ("precision", "objective"), [("float32", "cloob"), ("bfloat16", "cloob"), ("float16", "clip")]
)
def test_resumed_run_has_the_bits_of_an_uninterrupted_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, precision: str, objective: str
) -> None:
    monkeypatch.setenv("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # read when a process first uses cuBLAS
    torch.multiprocessing.spawn(train_whole_and_resumed, (tmp_path, precision, objective), nprocs=1)
    whole, resumed = (
        torch.load(tmp_path / name / "final.pt", weights_only=True) for name in ("whole", "resumed")
    )
    assert whole["samples_seen"] == resumed["samples_seen"] == EPOCHS * PAIRS
    for name, weight in whole["state_dict"].items():
        assert torch.equal(weight, resumed["state_dict"][name]), name
