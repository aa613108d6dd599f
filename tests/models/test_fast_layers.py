"""The encoders with faster layers equal open_clip's: embeddings and gradients, in float64."""

import open_clip
import pytest
import torch

from cloob.models.clip import build_model
from cloob.models.fast_layers import (
    BlockAvgPool2d,
    FusedQuickGELU,
    MeanOfBlocks,
    OneQueryPool,
    PointwiseConv2d,
    use_fast_layers,
)

RESNET = {"image_size": 64, "layers": [1, 2, 1, 1], "width": 8, "head_width": 32, "patch_size": None}
VIT = {"image_size": 32, "layers": 2, "width": 32, "head_width": 16, "patch_size": 8}
TEXT = {"context_length": 12, "vocab_size": 49408, "width": 16, "heads": 2, "layers": 2}
CONFIGS = {
    "ResNet": {"embed_dim": 8, "quick_gelu": True, "vision_cfg": RESNET, "text_cfg": TEXT},
    "ResNet with GELU": {"embed_dim": 8, "quick_gelu": False, "vision_cfg": RESNET, "text_cfg": TEXT},
    "ViT": {"embed_dim": 8, "quick_gelu": True, "vision_cfg": VIT, "text_cfg": TEXT},
    "one text block": {"embed_dim": 8, "vision_cfg": RESNET, "text_cfg": TEXT | {"layers": 1}},
    "layer scale": {"embed_dim": 8, "vision_cfg": VIT, "text_cfg": TEXT | {"ls_init_value": 0.1}},
}


def same_models(config, seed=0):
    """Ours and open_clip's, with the same weights, in float64; the weights and statistics are not trivial."""
    torch.manual_seed(seed)
    ours = build_model(config).double()
    with torch.no_grad():
        for parameter in ours.parameters():
            parameter.add_(0.05 * torch.randn_like(parameter))
    theirs = open_clip.CLIP(**config).double()
    theirs.load_state_dict(ours.state_dict())
    return ours, theirs


@pytest.mark.parametrize(
    "memory_format", [torch.contiguous_format, torch.channels_last], ids=["NCHW", "NHWC"]
)
@pytest.mark.parametrize("training", [True, False], ids=["training", "evaluation"])
@pytest.mark.parametrize("config", CONFIGS.values(), ids=CONFIGS)
def test_embeddings_and_gradients_equal_open_clips(config, training, memory_format):
    ours, theirs = same_models(config)
    side = config["vision_cfg"]["image_size"]
    pixels = torch.randn(3, 3, side, side, dtype=torch.float64).contiguous(memory_format=memory_format)
    tokens = torch.tensor([[49406, 320, 49407, 0, 0], [49406, 7, 9, 9, 49407], [49406, 49407, 0, 0, 0]])
    padded = torch.nn.functional.pad(tokens, (0, TEXT["context_length"] - tokens.shape[1]))
    weights = torch.randn(2, 3, 8, dtype=torch.float64)
    for model, text in ((ours, tokens), (theirs, padded)):
        model.train(training).to(memory_format=memory_format)
        embeddings = torch.stack([model.encode_image(pixels), model.encode_text(text)])
        (embeddings * weights).sum().backward()
        model.embeddings = embeddings.detach()
    torch.testing.assert_close(ours.embeddings, theirs.embeddings, rtol=1e-10, atol=1e-12)
    for name, expected in theirs.named_parameters():
        actual = ours.get_parameter(name).grad
        if expected.grad is None:
            assert actual is None, name
        else:
            torch.testing.assert_close(actual, expected.grad, rtol=1e-8, atol=1e-10, msg=name)


def test_layers_are_replaced_but_not_their_parameters():
    model, theirs = same_models(CONFIGS["ResNet"])
    assert list(model.state_dict()) == list(theirs.state_dict())
    assert type(model.visual.attnpool) is OneQueryPool
    assert type(model.transformer.resblocks[0].mlp.gelu) is FusedQuickGELU
    kinds = {
        layer.kernel_size: type(layer) for layer in model.modules() if isinstance(layer, torch.nn.Conv2d)
    }
    assert kinds == {(3, 3): torch.nn.Conv2d, (1, 1): PointwiseConv2d}
    pools = [type(layer) for layer in model.modules() if isinstance(layer, torch.nn.AvgPool2d)]
    assert set(pools) == {BlockAvgPool2d}


def test_text_block_that_is_not_open_clips_default_is_computed_as_a_whole():
    torch.manual_seed(0)
    config = CONFIGS["ResNet"] | {"text_cfg": TEXT | {"qk_norm": True}}
    ours, theirs = same_models(config)
    tokens = torch.nn.functional.pad(torch.tensor([[49406, 320, 49407]]), (0, 9))
    torch.testing.assert_close(
        ours.encode_text(tokens[:, :3]), theirs.encode_text(tokens), rtol=1e-10, atol=1e-12
    )


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
def test_quick_gelu_and_its_gradient_equal_the_formula(dtype):
    x = torch.cat([torch.linspace(-30, 30, 4001), torch.tensor([0.0, -1e4, 1e4])]).to(dtype)
    ours, oracle = (x.detach().to(kind).requires_grad_() for kind in (dtype, torch.float64))
    result, exact = FusedQuickGELU()(ours), oracle * torch.sigmoid(1.702 * oracle)
    for values in (result, exact):
        values.sum().backward()
    tolerance = 10 * torch.finfo(dtype).eps
    torch.testing.assert_close(result.double(), exact, rtol=tolerance, atol=tolerance)
    torch.testing.assert_close(ours.grad.double(), oracle.grad, rtol=tolerance, atol=tolerance)


def test_second_derivative_of_quick_gelu_is_an_error():
    x = torch.ones(2, requires_grad=True)
    [gradient] = torch.autograd.grad((x * FusedQuickGELU()(x)).sum(), x, create_graph=True)
    with pytest.raises(RuntimeError, match="once_differentiable"):
        gradient.sum().backward()


@pytest.mark.parametrize("shape", [(3, 5, 8, 6), (2, 1, 2, 2), (1, 4, 2, 6)])
@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_mean_of_blocks_is_average_pooling(shape, dtype):
    layout = {"memory_format": torch.channels_last}
    ours = torch.randn(shape, dtype=dtype).contiguous(**layout).requires_grad_()
    oracle = ours.detach().double().requires_grad_()
    result, exact = MeanOfBlocks.apply(ours), torch.nn.functional.avg_pool2d(oracle, 2)
    weights = torch.randn_like(exact).to(dtype)
    result.backward(weights)
    exact.backward(weights.double())
    assert result.is_contiguous(**layout)
    assert ours.grad.is_contiguous(**layout)
    assert result.dtype == ours.grad.dtype == dtype
    tolerance = 4 * torch.finfo(dtype).eps
    torch.testing.assert_close(result.double(), exact, rtol=tolerance, atol=tolerance)
    torch.testing.assert_close(ours.grad.double(), oracle.grad, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("size", [1, (1, 1), 2, (2, 2)])
@pytest.mark.parametrize("side", [6, 7])
def test_pooling_of_blocks_equals_pytorchs(size, side):
    model = torch.nn.Sequential(torch.nn.AvgPool2d(size))
    x = torch.randn(2, 3, side, side)
    expected = model(x)
    use_fast_layers(model)
    assert type(model[0]) is BlockAvgPool2d
    assert torch.equal(model(x), expected)


@pytest.mark.parametrize(
    "options",
    [{"padding": 1}, {"stride": 1}, {"divisor_override": 3}, {"kernel_size": 3}, {"stride": (2, 1)}],
)
def test_other_average_pooling_is_kept(options):
    model = torch.nn.Sequential(torch.nn.AvgPool2d(**({"kernel_size": 2} | options)))
    use_fast_layers(model)
    assert type(model[0]) is torch.nn.AvgPool2d
