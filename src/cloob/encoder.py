"""The two encoders of the paper: CLIP's modified ResNet (or ViT) and its text transformer, from open_clip.

Nothing here knows of training: an encoder is made from an open_clip model configuration, or read
back from a checkpoint that carries its own.
"""

import json
from collections.abc import Callable
from functools import partial
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import open_clip
import torch
import torch.nn.functional as F
from open_clip.modified_resnet import Bottleneck
from torch import Tensor
from torch.utils.checkpoint import checkpoint
from torchvision.transforms import v2

from cloob.errors import InputError

ModelConfig = dict[str, Any]


def model_config(architecture: str) -> ModelConfig:
    """The open_clip configuration of an architecture.

    `architecture` is a name that open_clip knows (`RN50-quickgelu`) or the path of a JSON file in
    the same form. Raises `InputError` for anything else.
    """
    if architecture.endswith(".json"):
        try:
            return json.loads(Path(architecture).read_text(encoding="utf-8"))
        except (OSError, json.JSONDecodeError) as error:
            raise InputError(f"{architecture}: not a readable model configuration ({error})") from None
    config = open_clip.get_model_config(architecture)
    if config is None:
        raise InputError(f"architecture {architecture!r}: unknown to open_clip; see config/README.md")
    return config


class Encoder(open_clip.CLIP):
    """CLIP's two encoders, the text's only as long as its tokens.

    Attention is causal and a text's embedding is read at its end token, so whatever follows the longest
    text of a batch changes nothing but the time. (In RN50-CLIP the text takes half of all operations.)
    """

    def encode_image(self, image: Tensor, normalize: bool = False) -> Tensor:
        """Standardised pixels (N, 3, S, S) -> embeddings (N, d), of length 1 if `normalize`."""
        return super().encode_image(image.to(self.logit_scale.dtype), normalize=normalize)

    def encode_text(self, text: Tensor, normalize: bool = False) -> Tensor:
        """Tokens (N, L), L at most the context -> embeddings (N, d), of length 1 if `normalize`."""
        length = text.shape[1]
        precision = self.transformer.get_cast_dtype()
        x = self.token_embedding(text).to(precision) + self.positional_embedding[:length].to(precision)
        x = self.ln_final(self.transformer(x, attn_mask=self.attn_mask[:length, :length]))
        end = text.argmax(dim=1)  # its token has the largest number
        x = x[torch.arange(len(x), device=x.device), end]
        x = x @ self.text_projection
        return F.normalize(x, dim=1) if normalize else x


def build_encoder(config: ModelConfig) -> Encoder:
    """A freshly initialised pair of encoders; the initialisation draws from torch's global generator."""
    return Encoder(**config)


def checkpoint_activations(model: Encoder) -> None:
    """Keep no activations within a block of either encoder: the backward pass makes them again.

    (open_clip does so for its transformers only, not for the modified ResNet.)
    """
    model.set_grad_checkpointing()
    for module in model.visual.modules():
        if isinstance(module, Bottleneck):
            module.forward = partial(checkpoint, module.forward, use_reentrant=False)


def load_encoder(path: str | Path, device: str | torch.device = "cpu") -> tuple[Encoder, dict[str, Any]]:
    """Read a checkpoint of the train stage.

    Returns the encoders in evaluation mode on `device`, and the checkpoint without weights and
    optimizer (`run`, `model_config`, `epoch`, `samples_seen`, …). Pickles that hold anything but
    tensors and plain containers are refused. Raises `InputError` for an unreadable file.
    """
    try:
        checkpoint = torch.load(path, map_location="cpu", weights_only=True)
        model = build_encoder(checkpoint["model_config"])
        model.load_state_dict(checkpoint.pop("state_dict"))
    except FileNotFoundError:
        raise InputError(f"{path}: no such checkpoint; `cloob train run` makes it") from None
    except (RuntimeError, KeyError, TypeError, EOFError, UnpicklingError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise InputError(f"{path}: not a checkpoint of this pipeline ({reason}); train it again") from None
    checkpoint.pop("optimizer", None)
    return model.to(device).eval(), checkpoint


def tokenizer_for(config: ModelConfig) -> Callable[[list[str]], Tensor]:
    """CLIP's byte-pair tokenizer: a list of N texts -> tokens (N, L), int64.

    L is the number of tokens of the longest text, its end token included: at most the context.
    """
    tokenize = open_clip.SimpleTokenizer(context_length=config["text_cfg"]["context_length"])

    def tokens_of(texts: list[str]) -> Tensor:
        tokens = tokenize(texts)
        return tokens[:, : int(tokens.argmax(dim=1).max()) + 1]

    return tokens_of


def normalise_pixels(images: Tensor) -> Tensor:
    """uint8 pixels (N, 3, H, W) -> float32, standardised by CLIP's mean and deviation."""
    return v2.functional.normalize(
        v2.functional.to_dtype(images, torch.float32, scale=True),
        mean=list(open_clip.OPENAI_DATASET_MEAN),
        std=list(open_clip.OPENAI_DATASET_STD),
    )


def centre_transform(config: ModelConfig) -> v2.Compose:
    """Resize the shorter side (bicubic) and crop the centre: uint8 (3, H, W) -> uint8 (3, S, S)."""
    size = config["vision_cfg"]["image_size"]
    bicubic = v2.InterpolationMode.BICUBIC
    return v2.Compose([v2.Resize(size, interpolation=bicubic, antialias=True), v2.CenterCrop(size)])


def evaluation_transform(config: ModelConfig) -> v2.Compose:
    """What evaluation sees of an image: PIL image or uint8 (3, H, W) -> standardised float32 (3, S, S)."""
    return v2.Compose([v2.ToImage(), v2.RGB(), centre_transform(config), normalise_pixels])
