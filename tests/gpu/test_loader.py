"""Loader workers feed training on the device."""

import json
from pathlib import Path

import pytest

from cloob.train.distributed import DistributedContext
from cloob.train.loop import train
from cloob.train.recipe import Run
from cloob.train.setup import RunPaths, TrainOptions
from cloob.train.signals import StopRequest
from tests.gpu.small_training import ARCHITECTURE
from tests.helpers.captioned_shards import shards_of
from tests.helpers.recipes import recipe


def test_workers_do_not_change_the_losses(contexts: dict[str, DistributedContext], tmp_path: Path) -> None:
    manifest = shards_of(tmp_path / "shards", [(n, f"photo {n} of a bird") for n in range(48)]).path
    used = recipe(epochs=1, batch_size=16, micro_batch_size=8, precision="float64")
    losses = {}
    for workers in (0, 2):
        paths = RunPaths(manifest, manifest, tmp_path / str(workers))
        run = Run("cc3m", "cloob", "RN_small", "test", 3)
        options = TrainOptions(workers=workers)
        assert train(run, used, ARCHITECTURE, paths, contexts["device"], StopRequest(), options)
        events = [json.loads(line) for line in (paths.folder / "metrics.jsonl").read_text().splitlines()]
        losses[workers] = [event["loss"] for event in events if event["event"] in ("step", "validation")]
    assert len(losses[0]) == 4  # three steps and a validation
    assert losses[2] == pytest.approx(losses[0], rel=1e-9)
