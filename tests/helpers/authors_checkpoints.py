"""Random checkpoints in the authors' layout, and an independent implementation of CLIP's encoders for them.

The implementation follows the description of the architecture in functional form and float64, one text or
image at a time where that is simplest, and uses neither open_clip nor cloob.
"""

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

CONTEXT, VOCABULARY, HEAD = 77, 49408, 64


@dataclass(frozen=True)
class Sizes:
    """An architecture of the paper: `layers` is a tuple for the stages of a ResNet, an integer for a ViT."""

    embed: int
    pixels: int
    layers: tuple[int, ...] | int
    width: int
    text_width: int
    patch: int = 0


SIZES = {
    "RN50": Sizes(1024, 224, (3, 4, 6, 3), 64, 512),
    "RN101": Sizes(512, 224, (3, 4, 23, 3), 64, 512),
    "RN50x4": Sizes(640, 288, (4, 6, 10, 6), 80, 640),
    "ViT-B/32": Sizes(512, 224, 12, 768, 512, 32),
    "ViT-B/16": Sizes(512, 224, 12, 768, 512, 16),
}


def released(architecture: str, seed: int = 0) -> dict:
    """A checkpoint in the authors' layout with random weights, such that every layer affects the output."""
    sizes, generator = SIZES[architecture], torch.Generator().manual_seed(seed)
    weights: dict[str, Tensor] = {}

    def draw(name: str, *shape: int, scale: float | None = None, mean: float = 0.0) -> None:
        fan_in = math.prod(shape[1:]) if len(shape) > 1 else shape[0]
        scale = fan_in**-0.5 if scale is None else scale
        weights[f"module.{name}"] = mean + scale * torch.randn(*shape, generator=generator)

    def norm(name: str, width: int) -> None:
        draw(f"{name}.weight", width, scale=0.2, mean=1.0)
        draw(f"{name}.bias", width, scale=0.2)

    def batch_norm(name: str, width: int) -> None:
        norm(name, width)
        draw(f"{name}.running_mean", width, scale=0.2)
        weights[f"module.{name}.running_var"] = 0.5 + torch.rand(width, generator=generator)
        weights[f"module.{name}.num_batches_tracked"] = torch.tensor(1234)

    def linear(name: str, inputs: int, outputs: int) -> None:
        draw(f"{name}.weight", outputs, inputs)
        draw(f"{name}.bias", outputs, scale=0.2)

    def blocks(prefix: str, layers: int, width: int) -> None:
        for layer in range(layers):
            block = f"{prefix}.resblocks.{layer}"
            draw(f"{block}.attn.in_proj_weight", 3 * width, width)
            draw(f"{block}.attn.in_proj_bias", 3 * width, scale=0.2)
            linear(f"{block}.attn.out_proj", width, width)
            norm(f"{block}.ln_1", width)
            linear(f"{block}.mlp.c_fc", width, 4 * width)
            linear(f"{block}.mlp.c_proj", 4 * width, width)
            norm(f"{block}.ln_2", width)

    width = sizes.width
    if sizes.patch:
        draw("visual.class_embedding", width)
        draw("visual.positional_embedding", (sizes.pixels // sizes.patch) ** 2 + 1, width)
        draw("visual.proj", width, sizes.embed)
        draw("visual.conv1.weight", width, 3, sizes.patch, sizes.patch)
        norm("visual.ln_pre", width)
        blocks("visual.transformer", sizes.layers, width)
        norm("visual.ln_post", width)
    else:
        stem = ((3, width // 2), (width // 2, width // 2), (width // 2, width))
        for number, (inputs, outputs) in enumerate(stem, start=1):
            draw(f"visual.conv{number}.weight", outputs, inputs, 3, 3)
            batch_norm(f"visual.bn{number}", outputs)
        inputs = width
        for stage, layers in enumerate(sizes.layers):
            planes = width * 2**stage
            for layer in range(layers):
                block = f"visual.layer{stage + 1}.{layer}"
                shapes = ((planes, inputs, 1), (planes, planes, 3), (4 * planes, planes, 1))
                for number, (outputs, channels, kernel) in enumerate(shapes, start=1):
                    draw(f"{block}.conv{number}.weight", outputs, channels, kernel, kernel)
                    batch_norm(f"{block}.bn{number}", outputs)
                if layer == 0:
                    draw(f"{block}.downsample.0.weight", 4 * planes, inputs, 1, 1)
                    batch_norm(f"{block}.downsample.1", 4 * planes)
                inputs = 4 * planes
        draw("visual.attnpool.positional_embedding", (sizes.pixels // 32) ** 2 + 1, inputs)
        for name in ("k_proj", "q_proj", "v_proj"):
            linear(f"visual.attnpool.{name}", inputs, inputs)
        linear("visual.attnpool.c_proj", inputs, sizes.embed)
    draw("transformer.positional_embedding", CONTEXT, sizes.text_width)
    draw("transformer.text_projection", sizes.text_width, sizes.embed)
    blocks("transformer.transformer", 12, sizes.text_width)
    draw("transformer.token_embedding.weight", VOCABULARY, sizes.text_width)
    norm("transformer.ln_final", sizes.text_width)
    weights["module.logit_inv_tau"] = torch.tensor(30.0).log()
    weights["module.logit_scale_hopfield"] = torch.tensor(8.0).log()
    return {
        "epoch": 28,
        "name": f"cloob_{architecture}",
        "state_dict": weights,
        "optimizer": {"state": {}, "param_groups": [{"lr": 1e-3, "betas": (0.9, 0.999), "params": [0]}]},
        "scheduler": {"base_lrs": [1e-3, 1e-3], "last_epoch": 5, "lr_lambdas": [None, None]},
        "model_config_file": f"{architecture.replace('/', '-')}.json",
    }


class ReferenceModel:
    """The forward pass of both encoders with the weights of `released`, in float64."""

    def __init__(self, checkpoint: dict) -> None:
        self.weights = {
            name.removeprefix("module."): weight.double() for name, weight in checkpoint["state_dict"].items()
        }

    def image(self, pixels: Tensor) -> Tensor:
        """(N, 3, S, S) -> (N, d)"""
        return self._vit(pixels) if "visual.class_embedding" in self.weights else self._resnet(pixels)

    def text(self, tokens: Tensor) -> Tensor:
        """(77,) -> (d,): computed over the full context, read at the end-of-text token."""
        w = self.weights
        x = w["transformer.token_embedding.weight"][tokens] + w["transformer.positional_embedding"]
        x = self._transformer(x, "transformer.transformer", causal=True)
        end = int(tokens.argmax())
        return self._layer_norm(x, "transformer.ln_final")[end] @ w["transformer.text_projection"]

    def _resnet(self, x: Tensor) -> Tensor:
        for number, stride in ((1, 2), (2, 1), (3, 1)):
            x = F.relu(self._conv_bn(x, "visual", number, stride=stride))
        x = F.avg_pool2d(x, 2)
        for stage in range(1, 5):
            layer = 0
            while f"visual.layer{stage}.{layer}.conv1.weight" in self.weights:
                downsamples = stage > 1 and layer == 0
                x = self._bottleneck(x, f"visual.layer{stage}.{layer}", downsamples)
                layer += 1
        return torch.stack([self._attention_pool(maps) for maps in x])

    def _bottleneck(self, x: Tensor, name: str, downsamples: bool) -> Tensor:
        inner = F.relu(self._conv_bn(x, name, 1))
        inner = F.relu(self._conv_bn(inner, name, 2))
        inner = F.avg_pool2d(inner, 2) if downsamples else inner
        inner = self._conv_bn(inner, name, 3)
        if f"{name}.downsample.0.weight" in self.weights:
            x = F.avg_pool2d(x, 2) if downsamples else x
            x = F.conv2d(x, self.weights[f"{name}.downsample.0.weight"])
            x = self._batch_norm(x, f"{name}.downsample.1")
        return F.relu(inner + x)

    def _conv_bn(self, x: Tensor, name: str, number: int, stride: int = 1) -> Tensor:
        kernel = self.weights[f"{name}.conv{number}.weight"]
        x = F.conv2d(x, kernel, stride=stride, padding=kernel.shape[-1] // 2)
        return self._batch_norm(x, f"{name}.bn{number}")

    def _batch_norm(self, x: Tensor, name: str) -> Tensor:
        w = self.weights
        scale = w[f"{name}.weight"] / torch.sqrt(w[f"{name}.running_var"] + 1e-5)
        shift = w[f"{name}.bias"] - w[f"{name}.running_mean"] * scale
        return x * scale[:, None, None] + shift[:, None, None]

    def _attention_pool(self, x: Tensor) -> Tensor:
        """(C, H, W) -> (d,): the query is the mean over all positions."""
        name = "visual.attnpool"
        tokens = x.flatten(1).T
        tokens = torch.cat([tokens.mean(0, keepdim=True), tokens])
        tokens = tokens + self.weights[f"{name}.positional_embedding"]
        query, key, value = (self._linear(tokens, f"{name}.{part}_proj") for part in "qkv")
        return self._linear(_attention(query[:1], key, value)[0], f"{name}.c_proj")

    def _vit(self, x: Tensor) -> Tensor:
        w = self.weights
        patch = w["visual.conv1.weight"].shape[-1]
        patches = F.unfold(x, patch, stride=patch)  # (N, 3·p·p, positions)
        tokens = torch.einsum("wk,nkp->npw", w["visual.conv1.weight"].flatten(1), patches)
        embedded = []
        for sequence in tokens:
            y = torch.cat([w["visual.class_embedding"][None], sequence]) + w["visual.positional_embedding"]
            y = self._transformer(self._layer_norm(y, "visual.ln_pre"), "visual.transformer", causal=False)
            embedded.append(self._layer_norm(y[0], "visual.ln_post") @ w["visual.proj"])
        return torch.stack(embedded)

    def _transformer(self, x: Tensor, name: str, causal: bool) -> Tensor:
        """(L, width) -> (L, width)"""
        for layer in range(12):
            block = f"{name}.resblocks.{layer}"
            weight, bias = (self.weights[f"{block}.attn.in_proj_{part}"] for part in ("weight", "bias"))
            query, key, value = (self._layer_norm(x, f"{block}.ln_1") @ weight.T + bias).chunk(3, dim=1)
            x = x + self._linear(_attention(query, key, value, causal), f"{block}.attn.out_proj")
            inner = self._linear(self._layer_norm(x, f"{block}.ln_2"), f"{block}.mlp.c_fc")
            x = x + self._linear(inner / (1 + torch.exp(-1.702 * inner)), f"{block}.mlp.c_proj")
        return x

    def _linear(self, x: Tensor, name: str) -> Tensor:
        return x @ self.weights[f"{name}.weight"].T + self.weights[f"{name}.bias"]

    def _layer_norm(self, x: Tensor, name: str) -> Tensor:
        centered = x - x.mean(-1, keepdim=True)
        deviation = torch.sqrt((centered**2).mean(-1, keepdim=True) + 1e-5)
        return centered / deviation * self.weights[f"{name}.weight"] + self.weights[f"{name}.bias"]


def _attention(query: Tensor, key: Tensor, value: Tensor, causal: bool = False) -> Tensor:
    """(Q, width), (L, width), (L, width) -> (Q, width), in heads of 64."""
    out = []
    for head in range(query.shape[1] // HEAD):
        part = slice(head * HEAD, (head + 1) * HEAD)
        scores = query[:, part] @ key[:, part].T / HEAD**0.5
        if causal:
            later = torch.arange(len(key))[None] > torch.arange(len(query))[:, None]
            scores = scores.masked_fill(later, -torch.inf)
        out.append(scores.softmax(1) @ value[:, part])
    return torch.cat(out, dim=1)
