"""A checkpoint and its open_clip export give the same evaluation results, including for JPEGs."""

from collections.abc import Callable
from pathlib import Path

import open_clip
import pytest
import torch
from PIL import Image
from torchvision.datasets import ImageFolder

from cloob.common.json_files import read_json
from cloob.evaluate.features.extractor import FeatureExtractor
from cloob.evaluate.protocols.zeroshot import evaluate_zeroshot
from cloob.evaluate.retrieval_sets.retrieval_set import ShardsRetrievalSet
from cloob.evaluate.testsets.image_folder import LabeledFolder
from cloob.evaluate.testsets.spec import load_spec
from cloob.models.export import export_open_clip
from cloob.models.load import load_model
from tests.helpers.captioned_shards import shards_of
from tests.helpers.tiny_models import MODEL_CONFIG


@pytest.fixture
def photos(write_spec: Callable, tmp_path: Path) -> LabeledFolder:
    """Twelve JPEGs of various sizes in RGB, grayscale and CMYK."""
    for number in range(12):
        path = tmp_path / "set" / "test" / "abc"[number % 3] / f"{number}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        bands = [Image.effect_noise((61 + 7 * number, 97 - 3 * number), 50 + band) for band in range(3)]
        Image.merge("RGB", bands).convert(("RGB", "RGB", "L", "CMYK")[number % 4]).save(path, quality=85)
    return LabeledFolder(load_spec(write_spec(tmp_path / "d.yaml")), tmp_path / "set")


@pytest.fixture
def extractors(checkpoint: Path, tmp_path: Path) -> tuple[FeatureExtractor, FeatureExtractor]:
    """Extractors for the checkpoint and for its export."""
    model = load_model(checkpoint)
    export_open_clip(model, MODEL_CONFIG, tmp_path / "exported")
    return tuple(
        FeatureExtractor(source, tmp_path / "features", batch_size=5, device="cpu")
        for source in (checkpoint, str(tmp_path / "exported"))
    )


def test_export_has_bit_identical_image_features(
    extractors: tuple[FeatureExtractor, FeatureExtractor], photos: LabeledFolder
) -> None:
    original, exported = (extractor.image_features(photos) for extractor in extractors)
    assert torch.equal(original.after_projection, exported.after_projection)  # zero-shot, predictions
    assert torch.equal(original.before_projection, exported.before_projection)  # the linear probe's


def test_image_features_equal_those_of_open_clip(
    extractors: tuple[FeatureExtractor, FeatureExtractor], photos: LabeledFolder, tmp_path: Path
) -> None:
    original = extractors[0].image_features(photos).normalized
    model, _, transform = open_clip.create_model_and_transforms(f"local-dir:{tmp_path / 'exported'}")
    images = ImageFolder(photos.root, transform)
    with torch.inference_mode():
        exported = model.eval().encode_image(torch.stack([image for image, _ in images]), normalize=True)
    assert (original - exported).abs().max() < 1e-6  # different summation order; one gray level changes 1e-3


def test_export_has_the_same_zeroshot_metrics(
    extractors: tuple[FeatureExtractor, FeatureExtractor], photos: LabeledFolder, tmp_path: Path
) -> None:
    results = []
    for number, extractor in enumerate(extractors):
        evaluate_zeroshot(extractor, [(photos.spec, Path(photos.root).parent)], tmp_path / str(number))
        results.append(read_json(tmp_path / str(number) / "colors.json"))
    assert results[0]["metrics"] == results[1]["metrics"]


def test_export_has_the_same_pair_features(
    extractors: tuple[FeatureExtractor, FeatureExtractor], tmp_path: Path
) -> None:
    shards = shards_of(tmp_path / "shards", [(level, f"caption {level}") for level in range(7)])
    original, exported = (
        extractor.pair_features(ShardsRetrievalSet(shards), "cc3m", "CC validation")
        for extractor in extractors
    )
    assert torch.equal(original.image, exported.image)
    torch.testing.assert_close(original.text, exported.text)


def test_features_are_recomputed_if_the_preprocessing_changes(
    checkpoint: Path, photos: LabeledFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    extractor = FeatureExtractor(checkpoint, tmp_path / "cache", device="cpu")
    extractor.image_features(photos)
    cached = list((tmp_path / "cache").rglob("*.safetensors"))
    another = open_clip.image_transform(32, is_train=False, resize_mode="squash")
    monkeypatch.setattr(extractor.model, "preprocess", another)
    extractor.image_features(photos)
    assert len(list((tmp_path / "cache").rglob("*.safetensors"))) == len(cached) + 1
