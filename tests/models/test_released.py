"""The authors' released checkpoints give the embeddings of a reference implementation."""

from pathlib import Path

import open_clip
import pytest
import torch
from PIL import Image

from cloob.common.errors import InputError
from cloob.models.load import load_model
from cloob.models.released import convert
from tests.helpers.authors_checkpoints import SIZES, ReferenceModel, released

TEXTS = ["a photo of a dog", "", "grass " * 100]


@pytest.fixture(scope="module")
def rn50(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("released") / "cloob_rn50.pt"
    torch.save(released("RN50"), path)
    return path


@pytest.mark.parametrize("architecture", SIZES)
def test_released_checkpoint_gives_the_reference_embeddings(architecture: str, tmp_path: Path) -> None:
    checkpoint = released(architecture)
    torch.save(checkpoint, tmp_path / "released.pt")
    model = load_model(tmp_path / "released.pt")
    model, reference = model.double(), ReferenceModel(checkpoint)
    pixels = torch.randn(1, 3, *[SIZES[architecture].pixels] * 2, dtype=torch.float64)
    whole_context = open_clip.SimpleTokenizer(context_length=77)(TEXTS)
    with torch.inference_mode():
        torch.testing.assert_close(model.encode_image(pixels), reference.image(pixels), rtol=1e-9, atol=1e-10)
        expected = torch.stack([reference.text(tokens) for tokens in whole_context])
        torch.testing.assert_close(model.encode_text(model.tokenizer(TEXTS)), expected, rtol=1e-9, atol=1e-10)
    photo = Image.effect_noise((400, 300), 64)
    assert model.preprocess(photo).shape == pixels.shape[1:]
    assert model.metadata["run"] == {"name": f"cloob_{architecture}", "architecture": architecture}
    assert model.metadata["epoch"] == 28
    assert (model.metadata["inv_temperature"], model.metadata["hopfield_beta"]) == pytest.approx(
        (30, 8), rel=1e-6
    )
    assert torch.equal(model.logit_scale.exp().round(), torch.tensor(30.0, dtype=torch.float64))


def test_half_precision_weights_are_converted_exactly(rn50: Path, tmp_path: Path) -> None:
    checkpoint = torch.load(rn50, weights_only=True)
    weights = checkpoint["state_dict"]
    halved = {name: weight.half() if weight.ndim > 1 else weight for name, weight in weights.items()}
    torch.save(checkpoint | {"state_dict": halved}, tmp_path / "half.pt")
    model = load_model(tmp_path / "half.pt")
    loaded = model.visual.conv1.weight
    assert loaded.dtype == torch.float32
    assert torch.equal(loaded, weights["module.visual.conv1.weight"].half().float())


def test_checkpoint_without_prefix_and_beta_is_recognized(rn50: Path, tmp_path: Path) -> None:
    checkpoint = torch.load(rn50, weights_only=True)
    weights = {name.removeprefix("module."): weight for name, weight in checkpoint["state_dict"].items()}
    del weights["logit_scale_hopfield"]
    torch.save({"state_dict": weights}, tmp_path / "bare.pt")
    model = load_model(tmp_path / "bare.pt")
    assert model.metadata["hopfield_beta"] is None
    assert model.metadata["run"]["architecture"] == "RN50"
    assert torch.equal(model.text_projection, weights["transformer.text_projection"])


@pytest.mark.parametrize("zipped", [True, False])
def test_checkpoint_with_optimizer_and_scheduler_states_loads(
    rn50: Path, tmp_path: Path, zipped: bool
) -> None:
    weight = torch.nn.Parameter(torch.ones(3))
    optimizer = torch.optim.AdamW([weight], lr=1e-3)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 1 / (1 + step))
    weight.square().sum().backward()
    optimizer.step()
    schedule.step()
    states = {"optimizer": optimizer.state_dict(), "scheduler": schedule.state_dict()}
    content = torch.load(rn50, weights_only=True) | states
    torch.save(content, tmp_path / "whole.pt", _use_new_zipfile_serialization=zipped)
    model = load_model(tmp_path / "whole.pt")
    assert model.metadata["run"]["architecture"] == "RN50"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda weights: weights.pop("module.visual.bn1.weight"), "match none of RN50, RN101"),
        (lambda weights: weights.update({"module.extra": torch.zeros(2)}), "match none of RN50, RN101"),
        (
            lambda weights: weights.update({"module.transformer.ln_final.bias": torch.zeros(3)}),
            "match none of RN50, RN101",
        ),
        (lambda weights: weights.pop("module.logit_inv_tau"), "temperature .* is missing"),
        (
            lambda weights: weights.update({"module.logit_inv_tau": torch.tensor(float("nan"))}),
            "logit_inv_tau or its exponential is not a finite number",
        ),
        (
            lambda weights: weights.update({"module.logit_scale_hopfield": torch.tensor(800.0)}),
            "logit_scale_hopfield or its exponential is not a finite number",
        ),
        (lambda weights: weights.update({"module.visual.bn1.weight": "text"}), "not all weights are tensors"),
    ],
)
def test_unsupported_weights_are_rejected(rn50: Path, change, message: str) -> None:
    checkpoint = torch.load(rn50, weights_only=True, mmap=True)
    change(checkpoint["state_dict"])
    with pytest.raises(InputError, match=message):
        convert(checkpoint)


def test_rejection_names_the_file_in_one_line(tmp_path: Path) -> None:
    few = {"module.transformer.text_projection": torch.ones(2), "module.logit_inv_tau": torch.tensor(1.0)}
    torch.save({"state_dict": few}, tmp_path / "few.pt")
    with pytest.raises(InputError, match=r"few\.pt: neither .* \(the 2 weights match none of RN50") as caught:
        load_model(tmp_path / "few.pt")
    assert "\n" not in str(caught.value)
