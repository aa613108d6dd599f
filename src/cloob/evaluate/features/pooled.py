"""The output of an image encoder before and after its final projection, in one forward pass."""

from typing import Any

from open_clip.modified_resnet import ModifiedResNet
from open_clip.transformer import VisionTransformer
from torch import Tensor, nn

from cloob.models.fast_layers import pool_by_attention


def pre_and_post_projection(visual: nn.Module, pixels: Tensor) -> tuple[Tensor | None, Tensor]:
    """Standardized pixels (N, 3, S, S) -> features (N, w) before and (N, d) after the projection.

    Before the projection: for a modified ResNet the input of `c_proj` in its attention pooling (w = 32 × its
    width), for a ViT the pooled tokens (w = its width), for open_clip's timm models the pooled output of the
    trunk (None if the trunk does not pool). After the projection: the embeddings of `encode_image`, not
    normalized.
    """
    tower: Any = visual  # open_clip has no type for the attributes of its towers
    if isinstance(visual, ModifiedResNet):
        for stage in (visual.stem, visual.layer1, visual.layer2, visual.layer3, visual.layer4):
            pixels = stage(pixels)
        pooled = pool_by_attention(visual.attnpool, pixels)
        return pooled, visual.attnpool.c_proj(pooled)
    if isinstance(visual, VisionTransformer):
        pooled, _ = visual._pool(visual.transformer(visual._embeds(pixels)))
        return pooled, pooled if visual.proj is None else pooled @ visual.proj
    pooled = tower.trunk(pixels)
    return pooled if pooled.ndim == 2 else None, tower.head(pooled)
