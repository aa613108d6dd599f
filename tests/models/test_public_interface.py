"""`cloob.load_model`: a light import, and one interface for all kinds of models."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch
from PIL import Image

import cloob
from cloob.common.errors import InputError
from cloob.models.clip import build_model
from cloob.models.export import export_open_clip
from tests.helpers.tiny_models import MODEL_CONFIG


def test_importing_cloob_does_not_import_torch() -> None:
    code = "import sys, cloob; assert callable(cloob.load_model); assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.fixture(params=["checkpoint", "export"])
def source(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """A checkpoint of the train stage, and its export as a folder for open_clip."""
    torch.manual_seed(2)
    model = build_model(MODEL_CONFIG)
    if request.param == "export":
        export_open_clip(model, MODEL_CONFIG, tmp_path / "open_clip")
        return tmp_path / "open_clip"
    content = {"run": {"name": "tiny"}, "epoch": 3, "model_config": MODEL_CONFIG}
    torch.save(content | {"state_dict": model.state_dict()}, tmp_path / "final.pt")
    return tmp_path / "final.pt"


def test_loaded_model_embeds_an_image_and_a_text(source: Path) -> None:
    model = cloob.load_model(source, device="cpu")
    assert not model.training
    assert set(model.metadata) >= {"run", "epoch"}
    image = model.preprocess(Image.new("L", (50, 40))).unsqueeze(0)
    with torch.inference_mode():
        image_embedding = model.encode_image(image, normalize=True)
        text_embedding = model.encode_text(model.tokenizer(["a dog", "a cat"]), normalize=True)
    assert image_embedding.shape == (1, 16)
    assert text_embedding.shape == (2, 16)
    torch.testing.assert_close(text_embedding.norm(dim=1), torch.ones(2))


def test_probabilities_are_the_softmax_of_cosines_over_the_temperature(source: Path, tmp_path: Path) -> None:
    model = cloob.load_model(source)
    pictures = [Image.effect_noise((50, 40), 40 + 90 * number) for number in range(2)]
    pictures[1].convert("RGB").save(tmp_path / "second.png")
    results = model.classify(
        [pictures[0], tmp_path / "second.png"], ["a dog", "a {cat}"], ["{}", "a sketch of {}"]
    )
    with torch.inference_mode():
        pixels = torch.stack([model.preprocess(picture) for picture in pictures])
        images = model.encode_image(pixels, normalize=True)
        texts = [["a dog", "a sketch of a dog"], ["a {cat}", "a sketch of a {cat}"]]
        means = [model.encode_text(model.tokenizer(pair), normalize=True).mean(dim=0) for pair in texts]
        cosines = images @ torch.nn.functional.normalize(torch.stack(means)).T
        expected = (model.logit_scale.exp() * cosines).softmax(dim=1)
    for result, row in zip(results, expected.tolist(), strict=True):
        assert [result["a dog"], result["a {cat}"]] == pytest.approx(row, abs=1e-5)
        assert list(result.values()) == sorted(result.values(), reverse=True)
    assert model.classify(pictures[0], ["a dog", "a cat"])[0].keys() == {"a dog", "a cat"}


def test_an_inverse_temperature_above_the_largest_float32_is_exact(source: Path) -> None:
    model = cloob.load_model(source)
    with torch.no_grad():
        model.logit_scale.fill_(100)
    [result] = model.classify(Image.effect_noise((50, 40), 90), ["a dog", "a cat", "a house"])
    assert list(result.values()) == [1, 0, 0]


@pytest.mark.parametrize(
    ("labels", "templates", "message"),
    [
        ([], ["{}"], "at least two"),
        (["a dog"], ["{}"], "at least two"),
        ("a dog, a cat", ["{}"], "give a list"),
        (["a dog", " "], ["{}"], "one of them is empty"),
        (["a dog", "a dog"], ["{}"], "given twice"),
        (["a dog", "a cat"], [], "templates"),
        (["a dog", "a cat"], ["a photo"], "has no {}"),
    ],
)
def test_wrong_labels_and_templates_are_rejected(source: Path, labels, templates, message: str) -> None:
    with pytest.raises(InputError, match=message):
        cloob.load_model(source).classify(Image.new("L", (50, 40)), labels, templates)


def test_unreadable_image_is_a_one_line_error(source: Path, tmp_path: Path) -> None:
    (tmp_path / "page.jpg").write_bytes(b"<html>404</html>")
    model = cloob.load_model(source)
    for path, message in (
        (tmp_path / "page.jpg", "not a readable image"),
        (tmp_path / "none.jpg", "no such file"),
        (tmp_path, "a folder"),
        (Path("/dev/zero"), "not a regular file"),
    ):
        with pytest.raises(InputError, match=f"^{path}: {message}") as caught:
            model.classify([path], ["a dog", "a cat"])
        assert "\n" not in str(caught.value)
