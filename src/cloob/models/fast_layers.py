"""Layers of open_clip's models that compute the same function with fewer or faster operations."""

from typing import Any

import open_clip.transformer
import torch
import torch.nn.functional as F
from open_clip.modified_resnet import AttentionPool2d
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

QUICK_GELU_SLOPE = 1.702


def pool_by_attention(pool: AttentionPool2d, maps: Tensor) -> Tensor:
    """Feature maps (N, w, H, W) -> (N, w): attention pooling before its projection `c_proj`.

    Only for the query whose result is used, the mean over all positions, instead of H·W + 1 queries.
    """
    x = maps.flatten(2).transpose(1, 2)
    x = torch.cat([x.mean(dim=1, keepdim=True), x], dim=1)
    x = x + pool.positional_embedding.to(x.dtype)
    query, key, value = (
        part.unflatten(2, (pool.num_heads, -1)).transpose(1, 2)  # (N, heads, positions, w / heads)
        for part in (pool.q_proj(x[:, :1]), pool.k_proj(x), pool.v_proj(x))
    )
    return F.scaled_dot_product_attention(query, key, value).flatten(1)


class OneQueryPool(AttentionPool2d):
    """Attention pooling with one query; see `pool_by_attention`."""

    def forward(self, x: Tensor) -> Tensor:
        """Feature maps (N, w, H, W) -> embeddings (N, d)."""
        return self.c_proj(pool_by_attention(self, x))


class FusedQuickGELU(open_clip.transformer.QuickGELU):
    """x · sigmoid(1.702 x), with one operation in the backward pass instead of five."""

    def forward(self, x: Tensor) -> Tensor:
        """Any shape -> the same shape."""
        if torch.compiler.is_compiling():
            # The compiler fuses the formula itself. torch 2.11 compiled `_QuickGELU` to a gradient of zero.
            return super().forward(x)
        return _QuickGELU.apply(x)


class _QuickGELU(torch.autograd.Function):
    """With a = 1.702: y = silu(a x) / a, so dy/dx = silu'(a x)."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        scaled = QUICK_GELU_SLOPE * x
        ctx.save_for_backward(scaled)
        return F.silu(scaled).mul_(1 / QUICK_GELU_SLOPE)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        [scaled] = ctx.saved_tensors
        return torch.ops.aten.silu_backward(gradient, scaled)


class BlockAvgPool2d(nn.AvgPool2d):
    """Average pooling of blocks of 1×1 or 2×2 positions; on GPUs several times as fast if channels come last.

    In open_clip's ResNets, the first stage has blocks of 1×1, which change nothing.
    """

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) -> (N, C, H / k, W / k), rounded down."""
        if self.kernel_size in (1, (1, 1)):
            return x
        fast = x.is_cuda and x.is_contiguous(memory_format=torch.channels_last)
        if not fast or x.shape[2] % 2 or x.shape[3] % 2 or torch.compiler.is_compiling():
            return super().forward(x)
        return MeanOfBlocks.apply(x)


class MeanOfBlocks(torch.autograd.Function):
    """The means of 2×2 blocks, as a sum over two dimensions of (N, H / 2, 2, W / 2, 2, C).

    PyTorch's own kernels take 3 (forward) and 6 times (backward pass) as long on an H200.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        """(N, C, H, W), channels last -> (N, C, H / 2, W / 2), channels last."""
        ctx.shape = x.shape
        return _blocks(x.permute(0, 2, 3, 1)).mean((2, 4)).permute(0, 3, 1, 2)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        """A quarter of each value of the gradient for the four of its block."""
        batch, channels, height, width = ctx.shape
        result = gradient.new_empty(batch, height, width, channels)
        blocks = _blocks(result)
        parts = gradient.permute(0, 2, 3, 1)[:, :, None, :, None]
        torch.mul(parts.expand_as(blocks), 0.25, out=blocks)
        return result.permute(0, 3, 1, 2)


def _blocks(x: Tensor) -> Tensor:
    """(N, H, W, C) -> a view (N, H / 2, 2, W / 2, 2, C)."""
    batch, height, width, channels = x.shape
    return x.view(batch, height // 2, 2, width // 2, 2, channels)


class PointwiseConv2d(nn.Conv2d):
    """A 1×1 convolution, which on a CPU is computed faster as a matrix product if channels come last."""

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) -> (N, C', H, W)."""
        if x.device.type != "cpu" or not x.is_contiguous(memory_format=torch.channels_last):
            return super().forward(x)
        return F.linear(x.permute(0, 2, 3, 1), self.weight.flatten(1), self.bias).permute(0, 3, 1, 2)


# Replacements have the same parameters.
FAST_LAYERS: dict[type[nn.Module], type[nn.Module]] = {
    AttentionPool2d: OneQueryPool,
    open_clip.transformer.QuickGELU: FusedQuickGELU,
}


def use_fast_layers(model: nn.Module) -> None:
    """Replace the layers of a model in place; its parameters and their names stay the same."""
    for module in model.modules():
        if type(module) is nn.Conv2d and _is_pointwise(module):
            module.__class__ = PointwiseConv2d
        elif type(module) is nn.AvgPool2d and _has_blocks(module):
            module.__class__ = BlockAvgPool2d
        else:
            module.__class__ = FAST_LAYERS.get(type(module), type(module))


def _is_pointwise(layer: nn.Conv2d) -> bool:
    return layer.kernel_size == layer.stride == (1, 1) and layer.padding == (0, 0) and layer.groups == 1


def _has_blocks(layer: nn.AvgPool2d) -> bool:
    # Sizes and strides are numbers or pairs of them.
    is_block = layer.kernel_size == layer.stride and layer.kernel_size in (1, 2, (1, 1), (2, 2))
    return is_block and layer.padding in (0, (0, 0)) and not layer.divisor_override
