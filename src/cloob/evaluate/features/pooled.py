"""The image tower's output before its projection and after it, in one forward pass."""

import torch
import torch.nn.functional as F
from open_clip.modified_resnet import AttentionPool2d, ModifiedResNet
from open_clip.transformer import VisionTransformer
from torch import Tensor, nn


def before_and_after(visual: nn.Module, pixels: Tensor) -> tuple[Tensor | None, Tensor]:
    """Standardized pixels (N, 3, S, S) -> features (N, w) before the projection and (N, d) after it.

    Before the projection is, of a modified ResNet, what its attention pool hands to `c_proj` (w = 32 × its
    width), and of a ViT its pooled tokens (w = its width). After it are the embeddings of `encode_image`, not
    normalized. Of open_clip's timm towers the first is what the trunk pools; None where it pools nothing.
    """
    if isinstance(visual, ModifiedResNet):
        for part in (visual.stem, visual.layer1, visual.layer2, visual.layer3, visual.layer4):
            pixels = part(pixels)
        pooled = _attention_pooled(visual.attnpool, pixels)
        return pooled, visual.attnpool.c_proj(pooled)
    if isinstance(visual, VisionTransformer):
        pooled, _ = visual._pool(visual.transformer(visual._embeds(pixels)))
        return pooled, pooled if visual.proj is None else pooled @ visual.proj
    pooled = visual.trunk(pixels)
    return pooled if pooled.ndim == 2 else None, visual.head(pooled)


def _attention_pooled(pool: AttentionPool2d, maps: Tensor) -> Tensor:
    """(N, w, H, W) -> (N, w): what the mean of all places attends to, the only query that is read."""
    places = maps.flatten(2).mT  # (N, H·W, w)
    places = torch.cat([places.mean(dim=1, keepdim=True), places], dim=1)
    places = places + pool.positional_embedding.to(places.dtype)
    heads = (-1, pool.num_heads, places.shape[2] // pool.num_heads)
    query, key, value = (
        projected.unflatten(2, heads[1:]).transpose(1, 2)  # (N, heads, places, w / heads)
        for projected in (pool.q_proj(places[:, :1]), pool.k_proj(places), pool.v_proj(places))
    )
    return F.scaled_dot_product_attention(query, key, value).transpose(1, 2).flatten(1)
