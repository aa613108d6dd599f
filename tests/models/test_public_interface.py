"""`cloob.load_model`: a light import, and one interface for all kinds of models."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch
from PIL import Image

import cloob
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
