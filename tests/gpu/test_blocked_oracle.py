"""The float64 reference in blocks equals the formulas written out with loops over the pairs."""

import pytest
import torch

from cloob.objectives.registry import OBJECTIVES
from tests.helpers import blocked_oracle, oracle
from tests.helpers.batches import make_pairs


@pytest.mark.parametrize("objective", OBJECTIVES)
def test_blocks_of_rows_do_not_change_loss_or_gradient(objective: str) -> None:
    results = []
    for loss in (lambda *batch: blocked_oracle.loss(*batch, rows=7), oracle.loss):
        image, text = make_pairs(23, dtype=torch.float64)
        value = loss(image, text, objective, 20.0, 6.0)
        value.backward()
        results.append([value.detach(), image.grad, text.grad])
    for blocked, looped in zip(*results, strict=True):
        torch.testing.assert_close(blocked, looped, rtol=1e-10, atol=1e-13)
