"""Image and text features: their values, and that they are computed once and never reused if stale."""

import json
from collections.abc import Callable
from pathlib import Path

import open_clip
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

from cloob.common.errors import InputError
from cloob.evaluate.features.batched import Embedder
from cloob.evaluate.features.extractor import FeatureExtractor, l2_normalize, model_sha256
from cloob.evaluate.features.pooled import pre_and_post_projection
from cloob.evaluate.retrieval_sets.retrieval_set import ShardsRetrievalSet
from cloob.evaluate.testsets.image_folder import LabeledFolder, load_image
from cloob.evaluate.testsets.spec import load_spec
from cloob.models.clip import build_model
from cloob.models.export import export_model, export_open_clip
from cloob.models.load import load_model
from tests.helpers.captioned_shards import shards_of
from tests.helpers.tiny_models import MODEL_CONFIG, VIT_CONFIG


@pytest.fixture
def colors(write_spec: Callable, tmp_path: Path, make_testset: Callable) -> LabeledFolder:
    folder = make_testset({"a": 3, "b": 2, "c": 4})
    return LabeledFolder(load_spec(write_spec(tmp_path / "d.yaml")), folder)


def make_extractor(checkpoint: Path | str, cache: Path, **options: object) -> FeatureExtractor:
    return FeatureExtractor(checkpoint, cache, **{"batch_size": 4, "device": "cpu"} | options)


def files(cache: Path) -> dict[str, int]:
    return {path.name: path.stat().st_mtime_ns for path in cache.rglob("*.safetensors")}


def random_model(config: dict) -> open_clip.CLIP:
    """A model with random weights, including those that are initialized to zero."""
    torch.manual_seed(3)
    model = build_model(config).eval()
    with torch.no_grad():
        for weight in model.parameters():
            weight.add_(0.1 * torch.randn_like(weight))
    return model


@pytest.mark.parametrize(("config", "width"), [(MODEL_CONFIG, 256), (VIT_CONFIG, 24)], ids=["ResNet", "ViT"])
def test_projection_maps_features_before_it_to_features_after_it(config: dict, width: int) -> None:
    model = random_model(config).double()
    pixels = torch.randn(3, 3, 32, 32, dtype=torch.float64)
    with torch.inference_mode():
        before, after = pre_and_post_projection(model.visual, pixels)
        assert before.shape == (3, width)
        torch.testing.assert_close(after, model.encode_image(pixels))
        if config is VIT_CONFIG:
            projected = before @ model.visual.proj
        else:
            pool = model.visual.attnpool
            projected = before @ pool.c_proj.weight.T + pool.c_proj.bias
        torch.testing.assert_close(projected, after)


def test_timm_model_has_its_trunk_before_the_projection() -> None:
    config = {
        **MODEL_CONFIG,
        "vision_cfg": {"image_size": 32, "timm_model_name": "resnet10t", "timm_pool": "avg"},
    }
    tower = open_clip.CustomTextCLIP(**config).eval().visual
    pixels = torch.randn(2, 3, 32, 32)
    with torch.inference_mode():
        before, after = pre_and_post_projection(tower, pixels)
        torch.testing.assert_close(before, tower.trunk(pixels))
        torch.testing.assert_close(after, tower(pixels))


@pytest.mark.parametrize("workers", [0, 2])
def test_image_features_are_the_embeddings_sorted_by_image_name(
    checkpoint: Path, colors: LabeledFolder, tmp_path: Path, workers: int
) -> None:
    extractor = make_extractor(checkpoint, tmp_path / "cache", workers=workers)
    features = extractor.image_features(colors)
    assert features.names == [
        "a/0.png",
        "a/1.png",
        "a/2.png",
        "b/0.png",
        "b/1.png",
        *(f"c/{i}.png" for i in range(4)),
    ]
    assert features.labels.tolist() == [0, 0, 0, 1, 1, 2, 2, 2, 2]
    pixels = torch.stack([extractor.model.preprocess(load_image(path)) for path, _ in colors.samples])
    with torch.inference_mode():
        torch.testing.assert_close(
            features.after_projection, extractor.model.encode_image(pixels), atol=1e-5, rtol=1e-4
        )
        torch.testing.assert_close(features.normalized, extractor.model.encode_image(pixels, normalize=True))
    assert features.before_projection.shape == (9, 256)


def test_cache_depends_on_weights_but_not_on_path_or_order_of_the_checkpoint(
    checkpoint: Path, colors: LabeledFolder, tmp_path: Path
) -> None:
    first = make_extractor(checkpoint, tmp_path / "cache").image_features(colors)
    written = files(tmp_path / "cache")
    assert len(written) == 1
    content = torch.load(checkpoint, weights_only=True)
    state = content["state_dict"]
    content |= {"epoch": 9, "optimizer": {"x": 1}, "state_dict": dict(reversed(state.items()))}
    torch.save(content, tmp_path / "elsewhere.pt")
    again = make_extractor(tmp_path / "elsewhere.pt", tmp_path / "cache").image_features(colors)
    assert files(tmp_path / "cache") == written
    assert torch.equal(again.after_projection, first.after_projection)


@pytest.mark.parametrize("change", ["weight", "config", "image", "bytes", "precision", "version"])
def test_features_are_recomputed_if_any_input_changes(
    checkpoint: Path,
    colors: LabeledFolder,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    change: str,
) -> None:
    image_path = Path(colors.root) / "b" / "0.bmp"  # the same number of bytes for any content
    Image.open(image_path.with_suffix(".png")).save(image_path)
    image_path.with_suffix(".png").unlink()
    colors = LabeledFolder(colors.spec, Path(colors.root).parent)
    make_extractor(checkpoint, tmp_path / "cache").image_features(colors)
    content = torch.load(checkpoint, weights_only=True)
    if change == "weight":
        content["state_dict"]["visual.attnpool.c_proj.bias"][3] += 1e-6
    if change == "config":
        content["model_config"]["quick_gelu"] = False
    if change == "image":
        Image.new("RGB", (50, 50), (1, 2, 3)).save(image_path)
    if change == "bytes":
        Image.new("RGB", (40, 36), (1, 2, 3)).save(image_path)
    if change == "version":
        monkeypatch.setattr("cloob.evaluate.features.extractor.version", lambda package: "another")
    torch.save(content, tmp_path / "other.pt")
    precision = "bfloat16" if change == "precision" else "float32"
    colors = LabeledFolder(colors.spec, Path(colors.root).parent)  # as in another job
    make_extractor(tmp_path / "other.pt", tmp_path / "cache", precision=precision).image_features(colors)
    assert len(files(tmp_path / "cache")) == 2


def test_features_of_images_that_change_meanwhile_are_not_cached(
    checkpoint: Path, colors: LabeledFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    extractor = make_extractor(checkpoint, tmp_path / "cache")
    colors.content_sha256(tmp_path / "cache")
    last, _ = colors.samples[-1]

    def load_and_replace(path: str) -> Image.Image:
        Image.new("RGB", (40, 36), (1, 2, 3)).save(last)
        return load_image(path)

    monkeypatch.setattr("cloob.evaluate.features.extractor.load_image", load_and_replace)
    with pytest.raises(InputError, match=r"set/test: files were changed while they were evaluated; run"):
        extractor.image_features(colors)
    assert files(tmp_path / "cache") == {}


@pytest.mark.parametrize(
    ("section", "options"),
    [
        ("text_cfg", {"heads": 1}),
        ("text_cfg", {"no_causal_mask": True}),
        ("text_cfg", {"tokenizer_kwargs": {"clean": "whitespace"}}),
        ("vision_cfg", {"head_width": 4}),
        ("preprocess_cfg", {"mean": [0.5, 0.5, 0.5]}),
        ("preprocess_cfg", {"resize_mode": "squash"}),
    ],
)
def test_hash_of_an_open_clip_model_depends_on_all_of_its_configuration(
    tmp_path: Path, section: str, options: dict
) -> None:
    export_open_clip(random_model(MODEL_CONFIG), MODEL_CONFIG, tmp_path)
    before = model_sha256(load_model(tmp_path))
    content = json.loads((tmp_path / "open_clip_config.json").read_text())
    (content["model_cfg"] | content)[section].update(options)
    (tmp_path / "open_clip_config.json").write_text(json.dumps(content))
    assert model_sha256(load_model(tmp_path)) != before


def test_hash_of_an_open_clip_model_is_that_of_its_export(tmp_path: Path) -> None:
    weights = tmp_path / "weights.safetensors"
    save_file(open_clip.create_model("ViT-S-32-alt").state_dict(), weights)
    model = load_model(f"ViT-S-32-alt:{weights}")
    export_model(model, tmp_path / "exported")
    assert model_sha256(load_model(tmp_path / "exported")) == model_sha256(model)


def test_features_are_bit_identical_for_any_number_of_devices(
    checkpoint: Path, colors: LabeledFolder, tmp_path: Path
) -> None:
    single = make_extractor(checkpoint, tmp_path / "one", batch_size=2).image_features(colors)
    several = make_extractor(checkpoint, tmp_path / "three", batch_size=2)
    several._embedder = Embedder(several.model, [torch.device("cpu")] * 3, 2, 0, "float32")
    three = several.image_features(colors)
    assert torch.equal(single.after_projection, three.after_projection)
    assert torch.equal(single.before_projection, three.before_projection)


def test_bfloat16_features_are_close_to_float32(
    checkpoint: Path, colors: LabeledFolder, tmp_path: Path
) -> None:
    exact = make_extractor(checkpoint, tmp_path).image_features(colors).normalized
    rounded = make_extractor(checkpoint, tmp_path, precision="bfloat16").image_features(colors).normalized
    assert rounded.dtype == torch.float32
    assert 0 < (exact - rounded).abs().max() < 0.05


@pytest.mark.parametrize("scale", [1e-23, 1.0, 1e23])
def test_l2_normalize_is_independent_of_the_scale(scale: float) -> None:
    rows = torch.randn(5, 64, generator=torch.Generator().manual_seed(1))
    expected = torch.nn.functional.normalize(rows, dim=1)
    torch.testing.assert_close(l2_normalize(scale * rows, "CC"), expected)
    constant = torch.ones(3, 4)  # collapsed, but with a valid direction
    assert torch.equal(l2_normalize(constant, "CC"), constant / 2)


@pytest.mark.parametrize("value", [0.0, torch.nan, torch.inf])
def test_l2_normalize_rejects_zero_and_non_finite_embeddings(value: float) -> None:
    rows = torch.ones(4, 3)
    rows[1:3] = value
    with pytest.raises(InputError, match=r"^CC, images: 2 of 4 embeddings are zero or not finite; training"):
        l2_normalize(rows, "CC, images")


def test_encoder_with_constant_zero_output_is_rejected(
    checkpoint: Path, colors: LabeledFolder, tmp_path: Path
) -> None:
    content = torch.load(checkpoint, weights_only=True)
    for part in ("weight", "bias"):
        content["state_dict"][f"visual.attnpool.c_proj.{part}"].zero_()
    torch.save(content, tmp_path / "dead.pt")
    features = make_extractor(tmp_path / "dead.pt", tmp_path / "cache").image_features(colors)
    with pytest.raises(InputError, match=r"^Colors, test: 9 of 9 embeddings are zero"):
        _ = features.normalized
    shards = shards_of(tmp_path / "shards", [(9, "one"), (1, "two dogs")])
    with pytest.raises(InputError, match=r"^CC validation, images: 2 of 2 embeddings are zero"):
        make_extractor(tmp_path / "dead.pt", tmp_path / "cache").pair_features(
            ShardsRetrievalSet(shards), "cc3m", "CC validation"
        )


def test_unreadable_image_is_reported_and_nothing_is_cached(
    checkpoint: Path, colors: LabeledFolder, tmp_path: Path
) -> None:
    (Path(colors.root) / "c" / "1.png").write_bytes(b"<html>")
    for workers in (0, 1):
        with pytest.raises(InputError, match=r"c/1\.png: not a readable image"):
            make_extractor(checkpoint, tmp_path / "cache", workers=workers).image_features(colors)
    assert files(tmp_path / "cache") == {}


def test_captions_of_identical_images_share_one_image_embedding(checkpoint: Path, tmp_path: Path) -> None:
    shards = shards_of(
        tmp_path / "shards", [(9, "one"), (1, "two dogs"), (9, "a much longer one"), (5, "four")]
    )
    extractor = make_extractor(checkpoint, tmp_path / "cache", batch_size=3)
    pairs = ShardsRetrievalSet(shards)
    features = extractor.pair_features(pairs, "cc3m_validation", "CC validation")
    assert features.image_of_text.tolist() == [0, 1, 0, 2]
    assert features.image.shape == (3, 16)
    texts = ["one", "two dogs", "a much longer one", "four"]
    with torch.inference_mode():
        alone = torch.cat(
            [extractor.model.encode_text(extractor.model.tokenizer([text]), normalize=True) for text in texts]
        )
    torch.testing.assert_close(features.text, alone)
    written = files(tmp_path / "cache")
    extractor.pair_features(pairs, "cc3m_validation", "CC validation")
    assert files(tmp_path / "cache") == written
