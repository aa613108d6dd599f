"""A test set of a few colored squares, and a small but complete CLIP checkpoint."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
import yaml
from PIL import Image
from threadpoolctl import threadpool_limits

from cloob.models.clip import build_model
from tests.helpers.tiny_models import MODEL_CONFIG


@pytest.fixture(scope="session", autouse=True)
def one_thread() -> Iterator[None]:
    """On a shared machine, synchronizing threads over operations this small takes seconds."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    with threadpool_limits(1):  # scikit-learn's
        yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="session")
def write_spec() -> Callable[..., Path]:
    """Write a test-set spec to a path: three colors as classes, with the keys `changes` replaced."""
    return _write_spec


def _write_spec(path: Path, **changes: object) -> Path:
    content = {
        "name": "colors",
        "title": "Colors",
        "test": "test",
        "train": None,
        "labels": "folder_order",
        "classes": ["red", "green", "blue"],
        "prompts": ["a photo of a {} square.", "a {} thing."],
        "metric": "accuracy",
    }
    content |= changes
    path.write_text(yaml.safe_dump(content))
    return path


@pytest.fixture
def make_testset(tmp_path: Path) -> Callable[[dict[str, int]], Path]:
    """Create `set/test/<folder>/` with the given numbers of images; returns the folder `set`."""

    def create(folders: dict[str, int]) -> Path:
        for label, (name, images) in enumerate(folders.items()):
            folder = tmp_path / "set" / "test" / name
            folder.mkdir(parents=True)
            for number in range(images):
                color = (40 * label % 256, 255 - 25 * number, 90 * label % 256)
                Image.new("RGB", (40 + number, 36), color).save(folder / f"{number}.png")
        return tmp_path / "set"

    return create


@pytest.fixture(scope="session")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint in the layout of the train stage, with random weights."""
    torch.manual_seed(5)
    model = build_model(MODEL_CONFIG)
    path = tmp_path_factory.mktemp("run") / "final.pt"
    run = {
        "name": "cc3m-cloob-tiny-demo-seed1",
        "corpus": "cc3m",
        "objective": "cloob",
        "architecture": "tiny",
        "recipe": "demo",
        "seed": 1,
    }
    torch.save(
        {
            "run": run,
            "model_config": MODEL_CONFIG,
            "epoch": 3,
            "samples_seen": 300,
            "state_dict": model.state_dict(),
            "optimizer": {},
        },
        path,
    )
    return path
