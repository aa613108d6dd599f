"""The two encoders of the paper: CLIP's modified ResNet (or ViT) and its text transformer, from open_clip.

Nothing here knows of training: an encoder is made from an open_clip model configuration, or read
back from a checkpoint that carries its own, the authors' released ones and open_clip's included.
"""

import errno
import warnings
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import open_clip
import torch
import torch.nn.functional as F
from open_clip.modified_resnet import Bottleneck
from PIL.Image import Image
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint
from torchvision.transforms import Compose, v2
from torchvision.transforms.functional import to_pil_image

from cloob.common.errors import InputError, raise_if_io_error
from cloob.images.decoding import to_upright_rgb
from cloob.models.config import ModelConfig
from cloob.models.released import convert, is_released
from cloob.models.safe_load import (
    check_members,
    check_own_config,
    checkpoint_metadata,
    read_weights,
    refusal,
    refuses_code,
)


class Encoder(open_clip.CLIP):
    """CLIP's two encoders, the text's only as long as its tokens.

    Attention is causal and a text's embedding is read at its end token, so whatever follows the longest
    text of a batch changes nothing but the time. (In RN50-CLIP the text takes half of all operations.)
    """

    def __init__(self, **config: Any) -> None:
        """Fresh weights by an open_clip model configuration."""
        super().__init__(**config)
        self.config = config

    @property
    def preprocess(self) -> Callable[[Image | Tensor], Tensor]:
        """What evaluation makes of an image before `encode_image`; see `evaluation_transform`."""
        return evaluation_transform(self.config)

    @property
    def tokenizer(self) -> Callable[[list[str]], Tensor]:
        """What makes of texts the tokens for `encode_text`; see `tokenizer_for`."""
        return tokenizer_for(self.config)

    def encode_image(self, image: Tensor, normalize: bool = False) -> Tensor:
        """Standardized pixels (N, 3, S, S) -> embeddings (N, d), of length 1 if `normalize`."""
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
    """A freshly initialized pair of encoders; the initialization draws from torch's global generator."""
    return Encoder(**config)


def checkpoint_activations(model: Encoder) -> None:
    """Keep no activations within a block of either encoder: the backward pass makes them again.

    (open_clip does so for its transformers only, not for the modified ResNet.)
    """
    model.set_grad_checkpointing()
    for module in model.visual.modules():
        if isinstance(module, Bottleneck):
            module.forward = partial(checkpoint, module.forward, use_reentrant=False)


class OpenClipEncoder(nn.Module):
    """Any pretrained model of open_clip, with the members by which evaluation uses an `Encoder`."""

    def __init__(self, model: nn.Module, preprocess: Callable[[Image], Tensor], tokenizer: Callable) -> None:
        """`preprocess` and `tokenizer` are the model's own, as open_clip gives them.

        The encoder's `preprocess` takes images of any Pillow mode (see `cloob.images.decoding`).
        """
        super().__init__()
        self.model, self.tokenizer = model, tokenizer
        self.preprocess = Compose([_image, preprocess])

    @property
    def visual(self) -> nn.Module:
        """The image tower."""
        return self.model.visual

    def encode_image(self, image: Tensor, normalize: bool = False) -> Tensor:
        """Pixels as `preprocess` gives them (N, 3, S, S) -> embeddings (N, d), of length 1 if `normalize`."""
        return self.model.encode_image(image, normalize=normalize)

    def encode_text(self, text: Tensor, normalize: bool = False) -> Tensor:
        """Tokens (N, context) -> embeddings (N, d), of length 1 if `normalize`."""
        return self.model.encode_text(text, normalize=normalize)


def load_encoder(
    source: str | Path, device: str | torch.device = "cpu"
) -> tuple[Encoder | OpenClipEncoder, dict[str, Any]]:
    """Trained encoders in evaluation mode on `device`, and what their source tells about them.

    `source` is a checkpoint of the train stage, one of the authors' released checkpoints (both are told
    by their content), or a model of open_clip: `NAME:TAG` with a tag of its pretrained weights,
    `NAME:FILE` with weights of that model, `hf-hub:OWNER/REPOSITORY`, or a folder with an
    `open_clip_config.json`, such as `cloob train export` writes.

    The encoders have `encode_image`, `encode_text`, `preprocess` and `tokenizer`. Told about them are at
    least `run` (with `name`) and `epoch` (None for open_clip's); of a checkpoint of ours all but weights
    and optimizer; of the authors' the `model_config`, and `inv_temperature` and `hopfield_beta` as
    stored. Nothing is executed: pickles that hold anything but tensors and plain containers are refused.
    Raises `InputError`.
    """
    path = Path(source)
    if not _exists(path, Path.is_file):
        return _load_open_clip(str(source), device)
    checkpoint = read_weights(path)
    try:
        if is_released(checkpoint):
            config, weights, about = convert(checkpoint)
            about["model_config"] = config
        else:
            weights = checkpoint.pop("state_dict")
            about = {key: content for key, content in checkpoint.items() if key != "optimizer"}
            config = about["model_config"]
            check_own_config(config)
        model = build_encoder(config)
        model.load_state_dict(weights)
    except (InputError, RuntimeError, KeyError, TypeError, ValueError, AttributeError) as error:
        raise_if_io_error(error, path)
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise InputError(
            f"{path}: neither a checkpoint of this pipeline nor one that the authors released ({reason}); "
            "give weights of an open_clip model as NAME:FILE"
        ) from None
    return model.to(device).eval(), checkpoint_metadata(path, about, model.logit_scale)


def _exists(path: Path, is_there: Callable[[Path], bool]) -> bool:
    try:
        return is_there(path)
    except OSError as error:
        if error.errno == errno.ENAMETOOLONG:  # the name of a model on a hub
            return False
        raise


def _load_open_clip(source: str, device: str | torch.device) -> tuple[OpenClipEncoder, dict[str, Any]]:
    """A pretrained model of open_clip by its name or folder; raises `InputError`."""
    name, _, weights = source.partition(":")
    if _exists(Path(source), Path.is_dir):
        name, weights = f"local-dir:{source}", ""
    elif name in ("hf-hub", "local-dir"):
        name, weights = source, ""
    elif not weights or name not in open_clip.list_models():
        raise InputError(
            f"{source}: no such checkpoint, and not of the form NAME:TAG with a model of open_clip "
            "(`RN50-quickgelu:yfcc15m`; open_clip.list_pretrained() lists them)"
        )
    if _exists(Path(weights), Path.is_file):
        check_members(Path(weights))
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="'torch.load' received a zip file")  # it is refused
            # Another activation than the weights were trained with gives other embeddings: an error here.
            warnings.filterwarnings("error", message="QuickGELU mismatch")
            model, preprocess = open_clip.create_model_from_pretrained(
                name, weights or None, weights_only=True
            )
        tokenizer = open_clip.get_tokenizer(name)
    except Exception as error:  # of the hub's client, of the network, of open_clip, of torch: no common base
        if refuses_code(error):
            raise refusal(source, error) from None
        raise_if_io_error(error, source)
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise InputError(f"{source}: open_clip cannot load it ({reason})") from error
    about = checkpoint_metadata(source, {"run": {"name": source}, "epoch": None}, model.logit_scale)
    return OpenClipEncoder(model.to(device).eval(), preprocess, tokenizer), about


def tokenizer_for(config: ModelConfig) -> Callable[[list[str]], Tensor]:
    """CLIP's byte-pair tokenizer: a list of N texts -> tokens (N, L), int64.

    L is the number of tokens of the longest text, its end token included: at most the context.
    """
    tokenize = open_clip.SimpleTokenizer(context_length=config["text_cfg"]["context_length"])

    def tokens_of(texts: list[str]) -> Tensor:
        tokens = tokenize(texts)
        return tokens[:, : int(tokens.argmax(dim=1).max()) + 1]

    return tokens_of


def normalize_pixels(images: Tensor) -> Tensor:
    """uint8 pixels (N, 3, H, W) -> float32, standardized by CLIP's mean and deviation."""
    return v2.functional.normalize(
        v2.functional.to_dtype(images, torch.float32, scale=True),
        mean=list(open_clip.OPENAI_DATASET_MEAN),
        std=list(open_clip.OPENAI_DATASET_STD),
    )


def center_transform(config: ModelConfig) -> Callable[[Tensor], Tensor]:
    """Resize the shorter side (bicubic) and crop the center: uint8 (3, H, W) -> uint8 (3, S, S).

    For validation during training: fast, and at most a few gray levels from `evaluation_transform`.
    """
    return partial(_center, size=config["vision_cfg"]["image_size"])


def _center(image: Tensor, size: int) -> Tensor:
    """What v2.Resize and v2.CenterCrop do, without their search for an image among the arguments."""
    bicubic = v2.InterpolationMode.BICUBIC
    resized = v2.functional.resize_image(image, size, interpolation=bicubic, antialias=True)
    return v2.functional.center_crop_image(resized, size)


def evaluation_transform(config: ModelConfig) -> Compose:
    """The preprocessing of evaluation: PIL image or uint8 (3, H, W) -> standardized float32 (3, S, S).

    Converts to upright RGB (`cloob.images.decoding`), then applies open_clip's own transform, bit for bit.
    """
    size = config["vision_cfg"]["image_size"]
    mean, std = open_clip.OPENAI_DATASET_MEAN, open_clip.OPENAI_DATASET_STD
    return Compose([_image, open_clip.image_transform(size, is_train=False, mean=mean, std=std)])


def _image(image: Image | Tensor) -> Image:
    return to_pil_image(image) if isinstance(image, Tensor) else to_upright_rgb(image)
