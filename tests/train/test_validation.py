"""Validation: the encoders compute in the precision of the recipe, the metrics in float32."""

import pytest
import torch

from cloob.models.clip import build_model
from cloob.models.config import model_config
from cloob.models.preprocessing import center_crop_transform, normalize_pixels
from cloob.models.tokenizer import tokenizer_for
from cloob.objectives.losses import contrastive_loss
from cloob.shards.reader import Shards
from cloob.train import validation
from cloob.train.data import PairDataset, collate
from cloob.train.recipe import Run
from cloob.train.validation import validate
from tests.helpers.recipes import recipe

RUN = Run(corpus="noise", objective="cloob", architecture="tiny", recipe="base", seed=1)


@pytest.fixture
def dataset(shards, model):
    config = model_config(model)
    crop = center_crop_transform(config)
    return PairDataset(Shards(shards), lambda image, _: crop(image), tokenizer_for(config))


@pytest.fixture
def encoders(model):
    torch.manual_seed(0)
    return build_model(model_config(model))


def embed_in_float32(encoders, dataset, size):
    """Image and text embeddings of all pairs, without autocast."""
    encoders.eval()
    parts = []
    with torch.inference_mode():
        for start in range(0, len(dataset), size):
            indices = range(start, min(start + size, len(dataset)))
            pixels, tokens, _ = collate([dataset[(0, [index])] for index in indices])
            image = encoders.encode_image(normalize_pixels(pixels), normalize=True)
            parts.append((image, encoders.encode_text(tokens, normalize=True)))
    return [torch.cat(side) for side in zip(*parts, strict=True)]


@torch.inference_mode()
def mean_loss(encoders, images, texts, size):
    scales = {"inv_temperature": encoders.logit_scale.exp(), "beta": 8.0}
    starts = range(0, len(images) - size + 1, size)
    batches = [(images[start : start + size], texts[start : start + size]) for start in starts]
    losses = [contrastive_loss(*batch, objective="cloob", **scales) for batch in batches]
    return float(torch.stack(losses).mean())


def test_float32_is_bit_identical_to_encoding_without_autocast(dataset, encoders, context):
    images, texts = embed_in_float32(encoders, dataset, size=4)
    metrics = validate(encoders, dataset, RUN, recipe(precision="float32"), 0, context)
    assert metrics["loss"] == mean_loss(encoders, images, texts, size=8)


@pytest.mark.parametrize(
    ("precision", "dtype"),
    [("float32", torch.float32), ("bfloat16", torch.bfloat16), ("float16", torch.float16)],
)
def test_the_encoders_compute_in_the_recipes_precision_and_the_metrics_in_float32(
    dataset, encoders, context, monkeypatch, precision, dtype
):
    computed, measured = set(), set()
    for layer in (encoders.visual.layer4, encoders.transformer.resblocks[0].mlp.c_fc):
        layer.register_forward_hook(lambda _module, _inputs, output: computed.add(output.dtype))

    def record(name):
        function = getattr(validation, name)

        def recorded(images, texts, **options):
            result = function(images, texts, **options)
            measured.update([images.dtype, texts.dtype])
            if isinstance(result, torch.Tensor):
                measured.add(result.dtype)
            return result

        monkeypatch.setattr(validation, name, recorded)

    for name in ("contrastive_loss", "saturation", "retrieval_metrics"):
        record(name)
    validate(encoders, dataset, RUN, recipe(precision=precision), 0, context)
    assert computed == {dtype}
    assert measured == {torch.float32}
    assert all(value.dtype == torch.float32 for value in encoders.state_dict().values() if value.ndim)
    assert encoders.training


@pytest.mark.parametrize("precision", ["bfloat16", "float16"])
def test_metrics_in_half_precision_are_close_to_those_in_float32(dataset, encoders, context, precision):
    full = validate(encoders, dataset, RUN, recipe(precision="float32"), 0, context)
    half = validate(encoders, dataset, RUN, recipe(precision=precision), 0, context)
    assert half["loss"] != full["loss"]
    assert half["loss"] == pytest.approx(full["loss"], rel=0.05)
    assert half["saturation"] == pytest.approx(full["saturation"], rel=0.05)
