"""`load_model`: supported sources, rejected files, and that loading never executes code."""

import json
import os
import pickle
import warnings
from pathlib import Path
from zipfile import ZIP_DEFLATED, ZipFile

import open_clip
import pytest
import torch
from open_clip import pretrained
from PIL import Image
from safetensors.torch import save_file

from cloob.common.errors import InputError
from cloob.models.clip import build_model
from cloob.models.export import export_model, export_open_clip
from cloob.models.load import load_model

CONFIG = {
    "embed_dim": 16,
    "quick_gelu": True,
    "vision_cfg": {"image_size": 32, "layers": [1, 1, 1, 1], "width": 8, "patch_size": None},
    "text_cfg": {"context_length": 24, "vocab_size": 49408, "width": 16, "heads": 2, "layers": 1},
}
TEXTS = ["two dogs", "a blue circle on grass"]


@pytest.fixture(scope="module")
def encoder():
    torch.manual_seed(4)
    return build_model(CONFIG).eval()


@pytest.fixture
def trained_checkpoint(encoder, tmp_path: Path) -> Path:
    path = tmp_path / "final.pt"
    content = {"run": {"name": "tiny"}, "epoch": 3, "model_config": CONFIG, "optimizer": {}}
    torch.save(content | {"state_dict": encoder.state_dict()}, path)
    return path


def embeddings(model) -> tuple[torch.Tensor, torch.Tensor]:
    """Image and text embeddings by the interface that all models have."""
    photo = Image.linear_gradient("L").resize((50, 40)).convert("RGB")
    with torch.inference_mode():
        images = model.encode_image(model.preprocess(photo)[None], normalize=True)
        return images, model.encode_text(model.tokenizer(TEXTS), normalize=True)


def test_checkpoint_of_the_train_stage_is_loaded(encoder, trained_checkpoint: Path) -> None:
    model = load_model(trained_checkpoint)
    assert model.metadata == {"run": {"name": "tiny"}, "epoch": 3, "model_config": CONFIG}
    assert not model.training
    for actual, expected in zip(embeddings(model), embeddings(encoder), strict=True):
        assert torch.equal(actual, expected)


def test_compressed_checkpoint_has_the_same_weights(
    encoder, trained_checkpoint: Path, tmp_path: Path
) -> None:
    """As a zip that was unpacked and zipped again; torch would map the compressed bytes."""
    with ZipFile(trained_checkpoint) as source, ZipFile(tmp_path / "zipped.pt", "w", ZIP_DEFLATED) as target:
        for name in source.namelist():
            target.writestr(name, source.read(name))
    for actual, expected in zip(
        embeddings(load_model(tmp_path / "zipped.pt")), embeddings(encoder), strict=True
    ):
        assert torch.equal(actual, expected)


@pytest.mark.parametrize("form", ["{}", "local-dir:{}"])
def test_exported_folder_gives_the_same_embeddings(encoder, tmp_path: Path, form: str) -> None:
    export_open_clip(encoder, CONFIG, tmp_path / "exported")
    model = load_model(form.format(tmp_path / "exported"))
    images, texts = embeddings(model)
    expected_images, expected_texts = embeddings(encoder)
    torch.testing.assert_close(texts, expected_texts)
    assert (images * expected_images).sum() > 0.9999  # pixels within one gray level
    assert model.metadata["epoch"] is None


def test_interrupted_export_leaves_no_configuration_of_another_model(
    encoder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    export_open_clip(encoder, CONFIG | {"quick_gelu": False}, tmp_path)

    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("cloob.models.export.write_json", interrupted)
    with pytest.raises(KeyboardInterrupt):
        export_open_clip(encoder, CONFIG, tmp_path)
    with pytest.raises(InputError, match="nor a model in open_clip's format"):
        load_model(tmp_path)


def test_open_clip_model_is_loaded_with_a_file_of_weights(tmp_path: Path) -> None:
    torch.manual_seed(6)
    reference = open_clip.create_model("ViT-S-32-alt").eval()
    save_file(reference.state_dict(), tmp_path / "weights.safetensors")
    model = load_model(f"ViT-S-32-alt:{tmp_path / 'weights.safetensors'}")
    tokens = open_clip.get_tokenizer("ViT-S-32-alt")(TEXTS)
    with torch.inference_mode():
        assert torch.equal(embeddings(model)[1], reference.encode_text(tokens, normalize=True))
    assert model.metadata["run"]["name"].startswith("ViT-S-32-alt:")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"layers": 10**9}, "its model_config has 1000000004 layers, but there are 141 weights"),
        (
            {"context_length": 10**6},
            r"'positional_embedding' is \(24, 16\), in its model_config \(1000000, 16",
        ),
        ({"layers": 2}, r"'transformer.resblocks.1.ln_1.weight' is missing, in its model_config \(16,\)"),
    ],
)
def test_model_config_of_other_weights_is_rejected_before_it_takes_memory(
    trained_checkpoint: Path, changes: dict[str, int], message: str
) -> None:
    content = torch.load(trained_checkpoint, weights_only=True)
    content["model_config"]["text_cfg"] |= changes
    torch.save(content, trained_checkpoint)
    with pytest.raises(InputError, match=message):
        load_model(trained_checkpoint)


class Bomb:
    """Unpickling this creates a folder."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


@pytest.mark.parametrize(
    "save", [torch.save, lambda content, path: path.write_bytes(pickle.dumps(content, 2))]
)
@pytest.mark.parametrize("form", ["{}", "ViT-S-32-alt:{}"])
def test_pickled_code_is_rejected_and_not_executed(tmp_path: Path, save, form: str) -> None:
    save({"state_dict": {}, "payload": Bomb(tmp_path / "exploded")}, tmp_path / "bomb.pt")
    with pytest.raises(InputError, match=r"bomb\.pt: "):
        load_model(form.format(tmp_path / "bomb.pt"))
    assert not (tmp_path / "exploded").exists()


ADVICE = (
    r"^{}: contains Python objects .* could execute arbitrary code, so it is rejected; ask .* safetensors$"
)


@pytest.mark.parametrize("form", ["{}", "ViT-S-32-alt:{}"])
def test_rejection_of_pickled_code_has_a_remedy(tmp_path: Path, form: str) -> None:
    torch.save({"state_dict": {}, "payload": Bomb(tmp_path / "exploded")}, tmp_path / "bomb.pt")
    source = form.format(tmp_path / "bomb.pt")
    with pytest.raises(InputError, match=ADVICE.format(source)):
        load_model(source)


@pytest.mark.parametrize("form", ["{}", "ViT-S-32-alt:{}"])
def test_torchscript_is_rejected_with_the_advice_to_use_the_tag(tmp_path: Path, form: str) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # deprecated, but still distributed by OpenAI
        torch.jit.save(torch.jit.script(torch.nn.Linear(2, 2)), tmp_path / "script.pt")
    with pytest.raises(InputError, match=r"script\.pt: a TorchScript .*use the tag .*\(RN50:openai\)"):
        load_model(form.format(tmp_path / "script.pt"))


@pytest.mark.parametrize("part", ["", "final.pt", "open_clip", "open_clip/open_clip_model.safetensors"])
def test_a_run_its_export_and_its_safetensors_are_the_same_model(encoder, tmp_path: Path, part: str) -> None:
    content = {"run": {"name": "tiny"}, "epoch": 3, "model_config": CONFIG}
    torch.save(content | {"state_dict": encoder.state_dict()}, tmp_path / "final.pt")
    export_open_clip(encoder, CONFIG, tmp_path / "open_clip")
    model = load_model(tmp_path / part)
    torch.testing.assert_close(embeddings(model)[1], embeddings(encoder)[1])
    assert model.config["embed_dim"] == 16


def test_released_name_is_looked_up_where_the_workflow_downloads_to(
    encoder, trained_checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    released = tmp_path / "results" / "download" / "released"
    released.mkdir(parents=True)
    trained_checkpoint.rename(released / "cloob_rn50_yfcc.pt")
    assert load_model("cloob_rn50_yfcc").metadata["epoch"] == 3


def test_tag_determines_the_activation_function(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`RN50:yfcc15m` has QuickGELU though its name lacks it; here with a small model in the hub's cache."""
    (tmp_path / "tiny.json").write_text(json.dumps(CONFIG | {"quick_gelu": False}))
    open_clip.add_model_config(tmp_path / "tiny.json")
    reference = open_clip.create_model("tiny", force_quick_gelu=True).eval()
    snapshot = tmp_path / "hub" / "models--someone--tiny" / "snapshots" / ("0" * 40)
    snapshot.mkdir(parents=True)
    save_file(reference.state_dict(), snapshot / "open_clip_model.safetensors")
    (snapshot.parents[1] / "refs").mkdir()
    (snapshot.parents[1] / "refs" / "main").write_text("0" * 40)
    tags = {"web": pretrained._pcfg(hf_hub="someone/tiny/", quick_gelu=True)}
    monkeypatch.setitem(pretrained._PRETRAINED, "tiny", tags)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    model = load_model("tiny:web")
    tokens = open_clip.get_tokenizer("tiny")(TEXTS)
    with torch.inference_mode():
        expected = reference.encode_text(tokens, normalize=True)
        torch.testing.assert_close(embeddings(model)[1], expected, rtol=1e-5, atol=1e-6)
    assert model.metadata["run"] == {"name": "tiny:web", "architecture": "tiny"}
    export_model(model, tmp_path / "exported")
    assert torch.equal(embeddings(load_model(tmp_path / "exported"))[1], embeddings(model)[1])
    with pytest.raises(InputError, match="NAME:FILE") as caught:
        load_model("tiny:other")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("source", "part"),
    [
        ("ViT-B-16-SigLIP:webli", "tokenizer"),
        ("roberta-ViT-B-32:laion2b_s12b_b32k", "tokenizer"),
        ("local-dir:{}", "text encoder"),
    ],
)
def test_model_that_needs_transformers_is_rejected_before_its_weights_are_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, source: str, part: str
) -> None:
    config = CONFIG | {"text_cfg": {"hf_model_name": "someone/something"}}
    (tmp_path / "open_clip_config.json").write_text(json.dumps({"model_cfg": config}))
    monkeypatch.setattr(open_clip, "create_model_from_pretrained", None)
    source = source.format(tmp_path)
    with pytest.raises(InputError, match=f"^{source}: its {part} needs the package transformers, .*; give a"):
        load_model(source)


def test_safetensors_without_a_configuration_are_rejected(tmp_path: Path) -> None:
    save_file({"weight": torch.zeros(2)}, tmp_path / "model.safetensors")
    with pytest.raises(InputError, match=r"there is no open_clip_config\.json beside it; .*NAME:FILE"):
        load_model(tmp_path / "model.safetensors")


@pytest.mark.parametrize("other", ["open_clip_pytorch_model.bin", "a.pth", "model.safetensors"])
@pytest.mark.parametrize("part", ["my.safetensors", ""])
def test_folder_with_weights_of_several_models_is_rejected(
    encoder, tmp_path: Path, other: str, part: str
) -> None:
    export_open_clip(encoder, CONFIG, tmp_path)
    (tmp_path / "open_clip_model.safetensors").rename(tmp_path / "my.safetensors")
    (tmp_path / other).touch()
    with pytest.raises(InputError, match="both have weights; keep one model in a folder") as caught:
        load_model(tmp_path / part)
    assert "my.safetensors" in str(caught.value) and other in str(caught.value)


def test_leftover_of_a_killed_export_does_no_harm(encoder, tmp_path: Path) -> None:
    export_open_clip(encoder, CONFIG, tmp_path)
    (tmp_path / ".open_clip_model.node.7.safetensors").touch()
    assert load_model(tmp_path).metadata["epoch"] is None


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "damaged or not a checkpoint"),
        (b"<html>404</html>", "damaged or not a checkpoint"),
        (b"PK\x03\x04 torn", "damaged or not a checkpoint"),
        ([1, 2], "contains a list, not a checkpoint"),
        ({"state_dict": {}}, "neither a checkpoint of this pipeline nor .*'model_config'"),
        ({"weights": 1}, "neither .*NAME:FILE"),
        ({"state_dict": {}, "model_config": {}}, "neither a checkpoint of this pipeline"),
    ],
)
def test_file_that_is_not_a_checkpoint_is_rejected_in_one_line(tmp_path: Path, content, message: str) -> None:
    path = tmp_path / "other.pt"
    if isinstance(content, bytes):
        path.write_bytes(content)
    else:
        torch.save(content, path)
    with pytest.raises(InputError, match=message) as caught:
        load_model(path)
    assert "\n" not in str(caught.value)


def test_flipped_bit_is_detected(trained_checkpoint: Path) -> None:
    content = bytearray(trained_checkpoint.read_bytes())
    content[len(content) // 2] ^= 4
    trained_checkpoint.write_bytes(content)
    torch.load(trained_checkpoint, weights_only=True)  # torch does not detect it
    for source in (trained_checkpoint, f"ViT-S-32-alt:{trained_checkpoint}"):
        with pytest.raises(
            InputError, match=rf"^{trained_checkpoint}: damaged, checksum mismatch in .*/data/\d+"
        ):
            load_model(source)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"run": "seed 1"}, "`run` is not a dictionary of scalars"),
        ({"run": {"name": "a", "seed": [1]}}, "`run` is not a dictionary of scalars"),
        ({"run": {"name": "a", "rate": float("nan")}}, "`run` is not a dictionary of scalars"),
        ({"run": {"name": torch.ones(2)}}, "`run` is not a dictionary of scalars"),
        ({"epoch": "three"}, "`epoch` is not an integer"),
        ({"epoch": 3.5}, "`epoch` is not an integer"),
        ({"epoch": torch.tensor([3, 4])}, "`epoch` is not an integer"),
        ({"logit_scale": 800.0}, "1/τ is not finite"),
        ({"logit_scale": float("nan")}, "1/τ is not finite"),
        ({"vision_cfg": {"timm_model_name": "hf-hub:someone/something"}}, "has vision_cfg.timm_model_name"),
        ({"text_cfg": {"hf_model_name": "someone/something"}}, "has text_cfg.hf_model_name"),
    ],
    ids=lambda value: "-".join(value) if isinstance(value, dict) else "",
)
def test_checkpoint_metadata_is_validated_on_loading(trained_checkpoint: Path, change, message: str) -> None:
    content = torch.load(trained_checkpoint, weights_only=True)
    if "logit_scale" in change:
        content["state_dict"]["logit_scale"].fill_(change["logit_scale"])
    elif part := set(change) & set(CONFIG):
        content["model_config"] = CONFIG | {key: CONFIG[key] | change[key] for key in part}
    else:
        content |= change
    torch.save(content, trained_checkpoint)
    with pytest.raises(InputError, match=rf"^{trained_checkpoint}: .*{message}") as caught:
        load_model(trained_checkpoint)
    assert "\n" not in str(caught.value)


def test_epoch_may_be_a_tensor_or_missing(trained_checkpoint: Path) -> None:
    content = torch.load(trained_checkpoint, weights_only=True)
    torch.save(content | {"epoch": torch.tensor(3)}, trained_checkpoint)
    assert type(load_model(trained_checkpoint).metadata["epoch"]) is int
    del content["epoch"]
    torch.save(content, trained_checkpoint)
    assert load_model(trained_checkpoint).metadata["epoch"] is None


def test_truncated_checkpoint_is_rejected(trained_checkpoint: Path) -> None:
    trained_checkpoint.write_bytes(trained_checkpoint.read_bytes()[:-5000])
    with pytest.raises(InputError, match="damaged or not a checkpoint"):
        load_model(trained_checkpoint)


@pytest.mark.parametrize("source", ["none.pt", "RN50-quickgelu", "RN51:openai", "RN50:", "", "a" * 5000])
def test_unknown_source_is_rejected_with_the_supported_forms(source: str) -> None:
    with pytest.raises(InputError, match="NAME:TAG"):
        load_model(source or "''")


@pytest.mark.parametrize("source", ["RN50-quickgelu:none.pt", "local-dir:/nowhere", "RN50:yfcc16m"])
def test_errors_of_open_clip_are_one_line(source: str) -> None:
    with pytest.raises(InputError, match="open_clip cannot load it") as caught:
        load_model(source)
    assert "\n" not in str(caught.value)
