"""The registry is the one list of objectives, and a fifth objective is one entry and one function."""

import subprocess
import sys
from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F

from cloob.objectives import margin_losses, registry
from cloob.objectives.losses import contrastive_loss
from cloob.objectives.margin_losses import MARGIN_LOSSES, MarginLoss
from cloob.objectives.margins import margins
from cloob.objectives.registry import OBJECTIVES, Objective, get_objective


def test_the_registry_is_read_without_torch():
    code = "import sys, cloob.objectives.registry; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_every_entry_is_complete_and_distinct():
    assert [entry.name for entry in OBJECTIVES.values()] == list(OBJECTIVES)
    assert {entry.loss for entry in OBJECTIVES.values()} == set(MARGIN_LOSSES)
    for key in ("title", "description", "color", "marker"):
        assert len({getattr(entry, key) for entry in OBJECTIVES.values()}) == len(OBJECTIVES)
    paper_names = [name for entry in OBJECTIVES.values() for name in entry.paper_names]
    assert len(paper_names) == len(set(paper_names))


def test_an_unknown_objective_lists_the_known_ones():
    with pytest.raises(
        ValueError, match="objective 'siglip' is unknown; choose from clip, infonce_hopfield,"
    ):
        get_objective("siglip")


def test_a_name_that_would_break_run_names_is_rejected():
    with pytest.raises(ValueError, match="objective 'my-loss': use letters, digits"):
        replace(OBJECTIVES["clip"], name="my-loss")


def squared_hinge(values):
    return F.relu(1 + values) ** 2, 2 * F.relu(1 + values)


@pytest.mark.parametrize("hopfield", [False, True])
def test_a_fifth_objective_is_one_entry_and_one_function_of_the_margins(pairs, monkeypatch, hopfield):
    loss = MarginLoss(squared_hinge, combine=lambda both, inv_temp: both / 2)
    entry = Objective("hinge", "Hinge", "squared hinge", "hinge", hopfield, ("Hinge",), "#029e73", "v")
    monkeypatch.setitem(margin_losses.MARGIN_LOSSES, "hinge", loss)
    monkeypatch.setitem(registry.OBJECTIVES, "hinge", entry)
    image, text = pairs(9, width=5, dtype=torch.float64)

    def batch_loss(image, text):
        return contrastive_loss(image, text, objective="hinge", inv_temperature=3.0, beta=2.0)

    assert torch.autograd.gradcheck(batch_loss, (image, text))
    if not hopfield:
        both = [squared_hinge(margins(a, b, 3.0))[0].mean() for a, b in ((image, text), (text, image))]
        torch.testing.assert_close(batch_loss(image, text), sum(both) / 2)
