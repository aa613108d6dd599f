"""Every evaluation protocol gives the CPU's results on the device."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from cloob.evaluate.features.extractor import FeatureExtractor
from cloob.evaluate.protocols.image_text import evaluate_image_text
from cloob.evaluate.protocols.linear_probe import Settings, evaluate_linear_probe, l2_sweep
from cloob.evaluate.protocols.zeroshot import evaluate_zeroshot
from cloob.evaluate.retrieval_sets.retrieval_set import ShardsRetrievalSet
from cloob.evaluate.testsets.image_folder import LabeledFolder
from cloob.evaluate.testsets.spec import TestSetSpec, load_spec
from cloob.models.clip import build_model
from cloob.toy_data.render import write_image
from cloob.toy_data.testsets import make_testset
from tests.gpu.conftest import backend_flags_restored
from tests.gpu.small_training import CONFIG, relative_error
from tests.helpers.captioned_shards import shards_of

TEST_SET = "flowers102"
Extractors = dict[str, FeatureExtractor]


@pytest.fixture(scope="module")
def testset(tmp_path_factory: pytest.TempPathFactory) -> tuple[TestSetSpec, Path]:
    """A test set of the toy dataset, with training images."""
    root = tmp_path_factory.mktemp("testset")
    content = make_testset(1, TEST_SET, 6, 4)
    for folder in content.folders:
        (root / TEST_SET / folder).mkdir(parents=True)
    for image in content.images:
        write_image(image, root / TEST_SET)
    (root / "spec.yaml").write_text(yaml.safe_dump(content.spec), encoding="utf-8")
    return load_spec(root / "spec.yaml"), root / TEST_SET


@pytest.fixture(scope="module")
def extractors(device: torch.device, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Extractors]:
    """The same checkpoint with random weights on the device and on the CPU, each with its own cache."""
    folder = tmp_path_factory.mktemp("checkpoint")
    torch.manual_seed(0)
    run = {"name": "random", "corpus": "cc3m", "objective": "cloob", "recipe": "none", "seed": 0}
    checkpoint = {"run": run, "epoch": 1, "model_config": CONFIG}
    torch.save(checkpoint | {"state_dict": build_model(CONFIG).state_dict()}, folder / "final.pt")
    with backend_flags_restored():
        yield {
            name: FeatureExtractor(folder / "final.pt", folder / name, batch_size=64, workers=1, device=kind)
            for name, kind in (("device", device.type), ("cpu", "cpu"))
        }


def numbers(content: Any, path: str = "") -> dict[str, float]:
    """All numbers of a result file, by their place in it."""
    if isinstance(content, dict | list):
        entries = content.items() if isinstance(content, dict) else enumerate(content)
        return {
            key: value for name, part in entries for key, value in numbers(part, f"{path}/{name}").items()
        }
    return {path: float(content)} if isinstance(content, int | float) else {}


def results(folder: Path, name: str) -> dict[str, float]:
    return numbers(json.loads((folder / f"{name}.json").read_text(encoding="utf-8")))


def test_features_are_those_of_the_cpu(extractors: Extractors, testset: tuple[TestSetSpec, Path]) -> None:
    folder = LabeledFolder(*testset)
    on_device, on_cpu = (extractors[name].image_features(folder) for name in ("device", "cpu"))
    assert relative_error(on_device.after_projection, on_cpu.after_projection) < 1e-4
    assert relative_error(on_device.before_projection, on_cpu.before_projection) < 1e-4
    assert on_device.names == on_cpu.names


def test_zero_shot_accuracy_is_that_of_the_cpu(
    extractors: Extractors, testset: tuple[TestSetSpec, Path], tmp_path: Path
) -> None:
    for name, extractor in extractors.items():
        evaluate_zeroshot(extractor, [testset], tmp_path / name)
    on_device, on_cpu = (results(tmp_path / name, TEST_SET) for name in ("device", "cpu"))
    assert on_device.keys() == on_cpu.keys()
    metrics = [place for place in on_cpu if place.startswith("/metrics/")]
    assert metrics
    for place in metrics:  # rounding may decide between two classes for a few images
        assert abs(on_device[place] - on_cpu[place]) <= 3 / on_cpu["/images"], place


def test_linear_probe_is_that_of_the_cpu(
    extractors: Extractors, testset: tuple[TestSetSpec, Path], tmp_path: Path
) -> None:
    settings = Settings(("after_projection", "before_projection"), l2_sweep(1e-2, 1e2, 5), 0.2, 0)
    for name, extractor in extractors.items():
        evaluate_linear_probe(extractor, [testset], {}, settings, tmp_path / name)
    on_device, on_cpu = (results(tmp_path / name, TEST_SET) for name in ("device", "cpu"))
    assert on_device.keys() == on_cpu.keys()
    assert abs(on_device["/metrics/accuracy"] - on_cpu["/metrics/accuracy"]) <= 3 / on_cpu["/images"]


def test_retrieval_and_structure_are_those_of_the_cpu(extractors: Extractors, tmp_path: Path) -> None:
    shards = shards_of(tmp_path / "shards", [(n, f"photo {n} of a bird") for n in range(60)])
    for name, extractor in extractors.items():
        folders = tmp_path / name / "retrieval", tmp_path / name / "structure"
        evaluate_image_text(extractor, [("birds", "Birds", ShardsRetrievalSet(shards))], *folders)
    for protocol in ("retrieval", "structure"):
        on_device, on_cpu = (results(tmp_path / name / protocol, "birds") for name in ("device", "cpu"))
        assert on_device.keys() == on_cpu.keys()
        for place, expected in on_cpu.items():
            assert on_device[place] == pytest.approx(expected, rel=0.05, abs=0.05), place
