"""The output of an image encoder before and after its final projection, in one forward pass."""

from typing import Any

import torch
import torch.nn.functional as F
from open_clip.modified_resnet import AttentionPool2d, ModifiedResNet
from open_clip.transformer import VisionTransformer
from torch import Tensor, nn


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
        pooled = _attention_pool(visual.attnpool, pixels)
        return pooled, visual.attnpool.c_proj(pooled)
    if isinstance(visual, VisionTransformer):
        pooled, _ = visual._pool(visual.transformer(visual._embeds(pixels)))
        return pooled, pooled if visual.proj is None else pooled @ visual.proj
    pooled = tower.trunk(pixels)
    return pooled if pooled.ndim == 2 else None, tower.head(pooled)


def _attention_pool(pool: AttentionPool2d, maps: Tensor) -> Tensor:
    """Feature maps (N, w, H, W) -> (N, w): CLIP's attention pooling, computed for its one query only.

    The query is the mean over all positions.
    """
    tokens = maps.flatten(2).mT  # (N, H·W, w)
    tokens = torch.cat([tokens.mean(dim=1, keepdim=True), tokens], dim=1)
    tokens = tokens + pool.positional_embedding.to(tokens.dtype)
    heads = (-1, pool.num_heads, tokens.shape[2] // pool.num_heads)
    query, key, value = (
        projected.unflatten(2, heads[1:]).transpose(1, 2)  # (N, heads, tokens, w / heads)
        for projected in (pool.q_proj(tokens[:, :1]), pool.k_proj(tokens), pool.v_proj(tokens))
    )
    return F.scaled_dot_product_attention(query, key, value).transpose(1, 2).flatten(1)
