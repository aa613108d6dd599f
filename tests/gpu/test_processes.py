"""Several processes, one GPU each, train the weights of a single process."""

from pathlib import Path

import pytest
import torch

from tests.gpu.conftest import ON_CPU
from tests.gpu.small_training import ARCHITECTURE
from tests.helpers.captioned_shards import shards_of
from tests.helpers.training_runs import run_train

PROCESSES = 2


@pytest.mark.parametrize("objective", ["clip", "cloob"])
def test_two_processes_train_the_weights_of_one(tmp_path: Path, objective: str) -> None:
    if not ON_CPU and torch.cuda.device_count() < PROCESSES:
        pytest.skip(f"NCCL needs one GPU per process, {PROCESSES}; there is {torch.cuda.device_count()}")
    manifest = shards_of(tmp_path / "shards", [(n, f"photo {n} of a bird") for n in range(24)]).path
    changes = {"precision": "float64", "objective": objective, "epochs": 2}
    for processes in (1, PROCESSES):
        done = run_train(manifest, ARCHITECTURE, tmp_path / str(processes), processes=processes, **changes)
        assert done.returncode == 0, done.stderr
    one, several = (
        torch.load(tmp_path / str(number) / "final.pt", weights_only=True)["state_dict"]
        for number in (1, PROCESSES)
    )
    for name, expected in one.items():
        torch.testing.assert_close(several[name], expected, rtol=1e-7, atol=1e-9, msg=name)
