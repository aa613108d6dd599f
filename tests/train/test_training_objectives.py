"""The loop trains with the paper's objectives: a run is the one that their plain formulas give."""

import json

import pytest

from cloob.objectives.registry import OBJECTIVES
from cloob.train import loop, step
from cloob.train.distributed import joined
from cloob.train.recipe import Recipe, Run
from cloob.train.signals import StopRequest
from tests.helpers import oracle
from tests.helpers.recipes import BASE


def losses(objective, shards, model, folder):
    """The losses of six steps."""
    run = Run(corpus="cc3m", objective=objective, architecture="tiny", recipe="test", seed=3)
    places = loop.Places(shards, shards, folder)
    with joined() as world:
        loop.train(run, Recipe(**BASE), model, places, set(), 15, 0, world, StopRequest())
    lines = map(json.loads, (folder / "metrics.jsonl").read_text().splitlines())
    return [line["loss"] for line in lines if line["event"] == "step"]


@pytest.mark.parametrize("objective", OBJECTIVES)
def test_every_objective_trains_as_its_formulas_do(objective, shards, model, tmp_path, monkeypatch):
    ours = losses(objective, shards, model, tmp_path / "ours")

    def formulas(image, text, *, objective, inv_temperature, beta, group):
        return oracle.loss(image, text, objective, inv_temperature, beta)

    monkeypatch.setattr(step, "contrastive_loss", formulas)
    assert ours == pytest.approx(losses(objective, shards, model, tmp_path / "formulas"), rel=1e-5)
