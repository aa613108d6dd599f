"""A tiny toy dataset shared by the tests of this folder."""

import json
from pathlib import Path

import pytest

from cloob.toy_data.build import Sizes, build

SIZES = Sizes(
    cc3m_train=240, cc3m_validation=30, yfcc15m=220, testset_train_per_class=1, testset_test_per_class=1
)


@pytest.fixture(scope="session")
def toy_dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a toy dataset with seed 1."""
    out = tmp_path_factory.mktemp("small") / "toy_data"
    build(out, seed=1, sizes=SIZES, port=8765, processes=1)
    return out


@pytest.fixture(scope="session")
def metadata(toy_dataset: Path) -> dict:
    """The content of `toy_data.json`."""
    return json.loads((toy_dataset / "toy_data.json").read_text(encoding="utf-8"))
