"""An architecture is checked before anything is downloaded, without importing torch."""

import json
import subprocess
import sys

import open_clip
import pytest
import torch

from cloob.common.errors import InputError
from cloob.models.clip import build_model
from cloob.models.config import min_micro_batch_size, model_config
from tests.helpers.repository import ROOT

SMALL = json.loads((ROOT / "config" / "architectures" / "RN_small.json").read_text())
VIT = SMALL | {"vision_cfg": {"image_size": 32, "layers": 1, "width": 64, "patch_size": 16}}


def written(tmp_path, config):
    path = tmp_path / "model.json"
    path.write_text(config if isinstance(config, str) else json.dumps(config))
    return str(path)


def test_named_configuration_equals_open_clips():
    for name in ("RN50-quickgelu", "RN101-quickgelu", "RN50x4-quickgelu", "ViT-B-32"):
        assert model_config(name) == open_clip.get_model_config(name)


def test_validation_imports_neither_torch_nor_open_clip():
    code = (
        "import sys; from cloob.models.config import model_config; model_config('RN50'); print(*sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert not {"torch", "open_clip", "numpy"} & set(done.stdout.split())


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("RN50-quickgeluu", "not a model of open_clip; did you mean RN50-quickgelu"),
        ("rn50", "not a model of open_clip"),
        ("../RN50", "not a model of open_clip"),
        ("", "not a model of open_clip"),
        ("nowhere.json", "No such file"),
        ("coca_ViT-B-32", "multimodal_cfg is not a key of open_clip's CLIP"),
        ("convnext_base", "vision_cfg.timm_model_name refers to a model of another library"),
        ("roberta-ViT-B-32", "refers to a model of another library"),
    ],
)
def test_unsupported_architecture_is_rejected_in_one_line(name, message):
    with pytest.raises(InputError, match=message) as error:
        model_config(name)
    assert len(str(error.value).splitlines()) == 1


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ("not json", "not JSON"),
        ("", "not JSON"),
        ("[1]", "not a model configuration"),
        ("[" * 100_000, "not JSON"),
        (SMALL | {"quick_gelu": "yes"}, "quick_gelu is 'yes'; give true or false"),
        (
            SMALL | {"text_cfg": SMALL["text_cfg"] | {"mlp_ratio": "4"}},
            "text_cfg.mlp_ratio is '4'; give a number",
        ),
        (
            SMALL | {"text_cfg": SMALL["text_cfg"] | {"pool_type": 3}},
            "text_cfg.pool_type is 3; give a string",
        ),
        (
            SMALL | {"text_cfg": SMALL["text_cfg"] | {"act_kwargs": []}},
            "text_cfg.act_kwargs is .*; give an object",
        ),
        (
            SMALL | {"text_cfg": SMALL["text_cfg"] | {"pad_id": True}},
            "text_cfg.pad_id is True; give an integer",
        ),
        ({}, "vision_cfg is missing"),
        ({"model_cfg": SMALL}, "vision_cfg is missing"),
        ({key: SMALL[key] for key in ("vision_cfg", "text_cfg")}, "embed_dim is missing"),
        (SMALL | {"embed_dim": "128"}, "embed_dim is '128'"),
        (SMALL | {"embed_dimm": 128}, "embed_dimm is not a key"),
        (SMALL | {"text_cfg": SMALL["text_cfg"] | {"context": 3}}, "text_cfg.context is not a key"),
        (SMALL | {"text_cfg": {"width": 64}}, "text_cfg.context_length is missing"),
        (SMALL | {"text_cfg": SMALL["text_cfg"] | {"heads": 3}}, "text_cfg.heads is 3, but must divide"),
        (SMALL | {"text_cfg": SMALL["text_cfg"] | {"vocab_size": 100}}, "the tokenizer has 49408 tokens"),
        (SMALL | {"vision_cfg": SMALL["vision_cfg"] | {"image_size": 0}}, "image_size is 0"),
        (SMALL | {"vision_cfg": SMALL["vision_cfg"] | {"image_size": 16}}, "a multiple of 32"),
        (SMALL | {"vision_cfg": SMALL["vision_cfg"] | {"image_size": 63}}, "a multiple of 32"),
        (SMALL | {"vision_cfg": SMALL["vision_cfg"] | {"layers": [1, 1]}}, "four integers"),
        (SMALL | {"vision_cfg": SMALL["vision_cfg"] | {"width": 1}}, "head_width"),
        (VIT | {"vision_cfg": VIT["vision_cfg"] | {"image_size": 8}}, "less than vision_cfg.patch_size"),
        (VIT | {"vision_cfg": VIT["vision_cfg"] | {"patch_size": None}}, "patch_size is None"),
        (SMALL | {"output_dict": True}, "output_dict is True, which is not supported; give false"),
        (
            SMALL | {"text_cfg": SMALL["text_cfg"] | {"pool_type": "last"}},
            "text_cfg.pool_type is 'last', which is not supported; give \"argmax\"",
        ),
        (SMALL | {"text_cfg": SMALL["text_cfg"] | {"pool_type": None}}, "text_cfg.pool_type is None"),
        (SMALL | {"text_cfg": SMALL["text_cfg"] | {"no_causal_mask": True}}, "no_causal_mask is True"),
        (SMALL | {"text_cfg": SMALL["text_cfg"] | {"proj_type": "none"}}, "text_cfg.proj_type is 'none'"),
        (
            VIT | {"vision_cfg": VIT["vision_cfg"] | {"pool_type": "none"}},
            'vision_cfg.pool_type is \'none\', .* give "tok" or "avg"',
        ),
        (VIT | {"vision_cfg": VIT["vision_cfg"] | {"output_tokens": True}}, "output_tokens is True"),
        (
            SMALL | {"text_cfg": SMALL["text_cfg"] | {"tokenizer_kwargs": {"clean": "whitespace"}}},
            "text_cfg.tokenizer_kwargs is {'clean': 'whitespace'}, which is not supported; give {}",
        ),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_invalid_configuration_file_is_rejected_in_one_line(tmp_path, config, message):
    path = written(tmp_path, config)
    with pytest.raises(InputError, match=message) as error:
        model_config(path)
    assert str(error.value).startswith(f"{path}: ")
    assert len(str(error.value).splitlines()) == 1


@pytest.mark.parametrize(
    ("part", "options"),
    [
        ("text_cfg", {"pool_type": "argmax", "proj_bias": False, "ls_init_value": 0.1, "qk_norm": True}),
        ("vision_cfg", {"pool_type": "avg", "no_ln_pre": True, "pos_embed_type": "sin_cos_2d"}),
        ("vision_cfg", {"attentional_pool": True, "attn_pooler_queries": 4, "final_ln_after_pool": True}),
    ],
)
def test_supported_options_give_the_embeddings_of_open_clip(tmp_path, part, options):
    config = model_config(written(tmp_path, VIT | {part: VIT[part] | options}))
    torch.manual_seed(1)
    model, reference = build_model(config).eval(), open_clip.CLIP(**config).eval()
    reference.load_state_dict(model.state_dict())
    tokens, pixels = model.tokenizer(["a dog", "two black cats"]), torch.rand(2, 3, 32, 32)
    padded = torch.nn.functional.pad(tokens, (0, reference.context_length - tokens.shape[1]))
    with torch.inference_mode():
        torch.testing.assert_close(model.encode_text(tokens), reference.encode_text(padded))
        torch.testing.assert_close(model.encode_image(pixels), reference.encode_image(pixels))


@pytest.mark.parametrize("size", [32, 40, 46, 64, 100])
@pytest.mark.parametrize("base", [SMALL, VIT], ids=["ResNet", "ViT"])
def test_min_micro_batch_size_is_the_smallest_that_trains(tmp_path, base, size):
    config = model_config(written(tmp_path, base | {"vision_cfg": base["vision_cfg"] | {"image_size": size}}))
    model = build_model(config)
    minimum = min_micro_batch_size(config)
    assert model.encode_image(torch.rand(minimum, 3, size, size)).shape == (minimum, 128)
    if minimum > 1:
        with pytest.raises(ValueError, match="more than 1 value per channel"):
            model.encode_image(torch.rand(minimum - 1, 3, size, size))
