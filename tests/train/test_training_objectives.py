"""Training with each objective gives the same losses as training with the paper's formulas."""

import pytest

from cloob.objectives.registry import OBJECTIVES
from cloob.train import loop, step
from cloob.train.recipe import Recipe, Run
from cloob.train.setup import RunPaths, TrainOptions
from cloob.train.signals import StopRequest
from tests.helpers import oracle
from tests.helpers.recipes import BASE
from tests.helpers.training_runs import read_losses


def train_and_read_losses(objective, shards, model, context, folder):
    """The losses of a run of six steps."""
    run = Run(corpus="cc3m", objective=objective, architecture="tiny", recipe="test", seed=3)
    paths = RunPaths(shards, shards, folder)
    loop.train(run, Recipe(**BASE), model, paths, context, StopRequest(), TrainOptions())
    return read_losses(folder)


@pytest.mark.parametrize("objective", OBJECTIVES)
def test_training_equals_training_with_the_formulas(objective, shards, model, context, tmp_path, monkeypatch):
    losses = train_and_read_losses(objective, shards, model, context, tmp_path / "package")

    def formulas(image, text, *, objective, inv_temperature, beta, group, row_counts, partial):
        return oracle.loss(image, text, objective, inv_temperature, beta)

    monkeypatch.setattr(step, "contrastive_loss", formulas)
    expected = train_and_read_losses(objective, shards, model, context, tmp_path / "formulas")
    assert losses == pytest.approx(expected, rel=1e-5)
