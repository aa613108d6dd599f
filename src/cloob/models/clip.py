"""The CLIP model of the paper: a modified ResNet or ViT image encoder and a text transformer, from open_clip.

Nothing here depends on training: a model is built from an open_clip model configuration.
`cloob.models.load` restores one from a checkpoint.
"""

from collections.abc import Callable
from functools import cached_property, partial
from typing import Any

import open_clip
import torch
import torch.nn.functional as F
from open_clip.modified_resnet import Bottleneck
from open_clip.transformer import ResidualAttentionBlock
from PIL.Image import Image
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from cloob.models.config import ModelConfig
from cloob.models.fast_layers import use_fast_layers
from cloob.models.interface import ImageTextModel
from cloob.models.preprocessing import evaluation_transform
from cloob.models.tokenizer import tokenizer_for


class CLIPModel(open_clip.CLIP, ImageTextModel):
    """open_clip's CLIP, but the encoders compute only what the embeddings depend on.

    Attention is causal and a text's embedding is read at its end-of-text token. Therefore positions after the
    longest text of a batch are left out, and the last block is computed at the end-of-text tokens only. (In
    RN50-CLIP the text encoder accounts for half of all operations.)

    `config` is the open_clip model configuration; `metadata` is filled in by `cloob.models.load.load_model`.
    """

    # Members of open_clip's class, which has no types, and `to`, whose types lack `memory_format`.
    to: Any
    named_parameters: Any
    logit_scale: Any
    set_grad_checkpointing: Any
    transformer: Any
    token_embedding: Any
    positional_embedding: Any
    attn_mask: Any
    ln_final: Any
    text_projection: Any

    def __init__(self, **config: Any) -> None:
        """Initialize the weights at random, from an open_clip model configuration."""
        super().__init__(**config)
        self.config = config
        self.metadata: dict[str, Any] = {}
        use_fast_layers(self)

    @cached_property
    def preprocess(self) -> Callable[[Image | Tensor], Tensor]:  # type: ignore[override]
        """Image transform to apply before `encode_image`; see `evaluation_transform`."""
        return evaluation_transform(self.config)

    @cached_property  # compiling its 48,000 merges takes a moment
    def tokenizer(self) -> Callable[[list[str]], Tensor]:  # type: ignore[override]
        """Tokenizer to apply before `encode_text`; see `tokenizer_for`."""
        return tokenizer_for(self.config)

    def encode_image(self, image: Tensor, normalize: bool = False) -> Tensor:
        """Standardized pixels (N, 3, S, S) -> embeddings (N, d), L2-normalized if `normalize`."""
        return open_clip.CLIP.encode_image(self, image.to(self.logit_scale.dtype), normalize=normalize)

    def encode_text(self, text: Tensor, normalize: bool = False) -> Tensor:
        """Tokens (N, L), L at most the context length -> embeddings (N, d), L2-normalized if `normalize`."""
        length = text.shape[1]
        precision = self.transformer.get_cast_dtype()
        x = self.token_embedding(text).to(precision) + self.positional_embedding[:length].to(precision)
        mask = self.attn_mask[:length, :length]
        end = text.argmax(dim=1)  # the end-of-text token has the largest token id
        *blocks, last = self.transformer.resblocks
        for block in blocks:
            x = self._maybe_checkpointed(block, x, attn_mask=mask)
        x = self._maybe_checkpointed(_last_block, last, x, mask, end)
        x = self.ln_final(x) @ self.text_projection
        return F.normalize(x, dim=1) if normalize else x

    def _maybe_checkpointed(self, function: Callable[..., Tensor], *args: Any, **kwargs: Any) -> Tensor:
        if self.transformer.grad_checkpointing and torch.is_grad_enabled():
            return checkpoint(function, *args, use_reentrant=False, **kwargs)
        return function(*args, **kwargs)


def _last_block(block: Any, x: Tensor, mask: Tensor, end: Tensor) -> Tensor:
    """The last block of the text encoder, (N, L, W) -> (N, W): its output at the positions `end` (N,)."""
    rows = torch.arange(len(x), device=x.device)
    if type(block) is not ResidualAttentionBlock:  # open_clip's other blocks attend in other ways
        return block(x, attn_mask=mask)[rows, end]
    normalized, later = block.ln_1(x), torch.arange(x.shape[1], device=x.device) > end[:, None]
    query = normalized[rows, end].unsqueeze(1)
    attended, _ = block.attn(query, normalized, normalized, key_padding_mask=later, need_weights=False)
    x = x[rows, end] + block.ls_1(attended.squeeze(1))
    return x + block.ls_2(block.mlp(block.ln_2(x)))


def build_model(config: ModelConfig) -> CLIPModel:
    """A randomly initialized CLIP model; the initialization draws from torch's global generator."""
    return CLIPModel(**config)


def checkpoint_activations(model: CLIPModel) -> None:
    """Enable activation checkpointing: recompute the activations inside each block in the backward pass.

    (open_clip does so for its transformers only, not for the modified ResNet.)
    """
    model.set_grad_checkpointing()
    for module in model.visual.modules():
        if isinstance(module, Bottleneck):
            module.forward = partial(checkpoint, module.forward, use_reentrant=False)
