"""What the tests of the objective share."""

import pytest

from tests.helpers.batches import make_pairs


@pytest.fixture
def pairs():
    """A maker of (image, text): `pairs(number, width=24, seed=0, dtype=torch.float32)`."""
    return make_pairs
