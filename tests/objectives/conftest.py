"""Fixtures of the objectives' tests."""

import pytest

from tests.helpers.batches import make_pairs


@pytest.fixture
def pairs():
    """The function `make_pairs(number, width=24, seed=0, dtype=torch.float32)` -> (image, text)."""
    return make_pairs
