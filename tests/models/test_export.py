"""A checkpoint and its own open_clip export are evaluated to the same numbers, JPEGs included."""

from collections.abc import Callable
from pathlib import Path

import open_clip
import pytest
import torch
from PIL import Image
from torchvision.datasets import ImageFolder

from cloob.common.files import read_json
from cloob.evaluate.features.extractor import FeatureExtractor
from cloob.evaluate.protocols.zeroshot import evaluate_zeroshot
from cloob.evaluate.testsets.image_folder import LabeledFolder
from cloob.evaluate.testsets.spec import load_spec
from cloob.models.load import load_model
from cloob.models.export import export_open_clip
from tests.helpers.captioned_shards import shards_of
from tests.helpers.tiny_models import MODEL_CONFIG


@pytest.fixture
def photos(describe: Callable, tmp_path: Path) -> LabeledFolder:
    """Twelve JPEGs of odd sizes, RGB, gray and CMYK: what test sets are made of."""
    for number in range(12):
        path = tmp_path / "set" / "test" / "abc"[number % 3] / f"{number}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        bands = [Image.effect_noise((61 + 7 * number, 97 - 3 * number), 50 + band) for band in range(3)]
        Image.merge("RGB", bands).convert(("RGB", "RGB", "L", "CMYK")[number % 4]).save(path, quality=85)
    return LabeledFolder(load_spec(describe(tmp_path / "d.yaml")), tmp_path / "set")


@pytest.fixture
def both(checkpoint: Path, tmp_path: Path) -> tuple[FeatureExtractor, FeatureExtractor]:
    """Extractors of the checkpoint and of its export."""
    model = load_model(checkpoint)
    export_open_clip(model, MODEL_CONFIG, tmp_path / "exported")
    return tuple(
        FeatureExtractor(source, tmp_path / "features", batch_size=5, device="cpu")
        for source in (checkpoint, str(tmp_path / "exported"))
    )


def test_image_features_are_the_same_bits(
    both: tuple[FeatureExtractor, FeatureExtractor], photos: LabeledFolder
) -> None:
    ours, theirs = (extractor.of_images(photos) for extractor in both)
    assert torch.equal(ours.after_projection, theirs.after_projection)  # zero-shot, predictions
    assert torch.equal(ours.before_projection, theirs.before_projection)  # the linear probe's


def test_image_features_are_those_of_open_clip_alone(
    both: tuple[FeatureExtractor, FeatureExtractor], photos: LabeledFolder, tmp_path: Path
) -> None:
    ours = both[0].of_images(photos).normalized
    model, _, transform = open_clip.create_model_and_transforms(f"local-dir:{tmp_path / 'exported'}")
    images = ImageFolder(photos.root, transform)
    with torch.inference_mode():
        theirs = model.eval().encode_image(torch.stack([image for image, _ in images]), normalize=True)
    assert (ours - theirs).abs().max() < 1e-6  # the two sum in another order; a gray level moves 1e-3


def test_zeroshot_accuracies_and_answers_are_the_same(
    both: tuple[FeatureExtractor, FeatureExtractor], photos: LabeledFolder, tmp_path: Path
) -> None:
    found = []
    for number, extractor in enumerate(both):
        evaluate_zeroshot(extractor, [(photos.description, Path(photos.root).parent)], tmp_path / str(number))
        found.append(read_json(tmp_path / str(number) / "colours.json"))
    assert found[0]["metrics"] == found[1]["metrics"]


def test_captioned_images_have_the_same_bits(
    both: tuple[FeatureExtractor, FeatureExtractor], tmp_path: Path
) -> None:
    shards = shards_of(tmp_path / "shards", [(level, f"caption {level}") for level in range(7)])
    ours, theirs = (extractor.of_pairs(shards, "cc3m", "CC validation") for extractor in both)
    assert torch.equal(ours.image, theirs.image)
    torch.testing.assert_close(ours.text, theirs.text)


def test_features_of_the_another_preprocessing_are_not_taken(
    checkpoint: Path, photos: LabeledFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    extractor = FeatureExtractor(checkpoint, tmp_path / "cache", device="cpu")
    extractor.of_images(photos)
    kept = list((tmp_path / "cache").rglob("*.safetensors"))
    another = open_clip.image_transform(32, is_train=False, resize_mode="squash")
    monkeypatch.setattr(type(extractor.model), "preprocess", another)
    extractor.of_images(photos)
    assert len(list((tmp_path / "cache").rglob("*.safetensors"))) == len(kept) + 1
