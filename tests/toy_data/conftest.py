"""One tiny world for all tests of this folder."""

import json
from pathlib import Path

import pytest

from cloob.toy_data.build import Sizes, build

SIZES = Sizes(
    cc3m_train=240, cc3m_validation=30, yfcc=220, testset_train_per_class=1, testset_test_per_class=1
)


@pytest.fixture(scope="session")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a world of seed 1."""
    out = tmp_path_factory.mktemp("small") / "world"
    build(out, seed=1, sizes=SIZES, port=8765, processes=1)
    return out


@pytest.fixture(scope="session")
def record(world: Path) -> dict:
    """What the world says of itself."""
    return json.loads((world / "toy_data.json").read_text(encoding="utf-8"))
