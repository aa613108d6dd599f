"""The image transforms of a CLIP model."""

from collections.abc import Callable
from functools import lru_cache, partial

import open_clip
import torch
from PIL.Image import Image
from torch import Tensor
from torchvision.transforms import Compose, v2
from torchvision.transforms.functional import to_pil_image

from cloob.images.decoding import to_upright_rgb
from cloob.models.config import ModelConfig


def normalize_pixels(images: Tensor) -> Tensor:
    """uint8 pixels (N, 3, H, W) -> float32, standardized by CLIP's channel means and standard deviations.

    The same arithmetic as torchvision's normalize, which copies the constants to the device in every call and
    waits for the copies.
    """
    mean, std = _channel_statistics(images.device)
    return v2.functional.to_dtype(images, torch.float32, scale=True).sub_(mean).div_(std)


@lru_cache
@torch.inference_mode(False)
def _channel_statistics(device: torch.device) -> tuple[Tensor, Tensor]:
    """CLIP's channel means and standard deviations, (3, 1, 1) each."""
    mean, std = (
        torch.tensor(values, dtype=torch.float32, device=device).view(-1, 1, 1)
        for values in (open_clip.OPENAI_DATASET_MEAN, open_clip.OPENAI_DATASET_STD)
    )
    return mean, std


def center_crop_transform(config: ModelConfig) -> Callable[[Tensor], Tensor]:
    """Resize the shorter side (bicubic) and crop the center: uint8 (3, H, W) -> uint8 (3, S, S).

    Used for validation during training: fast, and within a few gray levels of `evaluation_transform`.
    """
    return partial(_center_crop, size=config["vision_cfg"]["image_size"])


def _center_crop(image: Tensor, size: int) -> Tensor:
    """v2.Resize and v2.CenterCrop without their overhead of searching their arguments for images."""
    bicubic = v2.InterpolationMode.BICUBIC
    resized = v2.functional.resize_image(image, size, interpolation=bicubic, antialias=True)
    return v2.functional.center_crop_image(resized, size)


def evaluation_transform(config: ModelConfig) -> Compose:
    """The image transform of the evaluation: PIL image or uint8 (3, H, W) -> standardized float32 (3, S, S).

    Converts to upright RGB (`cloob.images.decoding`), then applies open_clip's own transform; the output is
    bit-identical to open_clip's.
    """
    size = config["vision_cfg"]["image_size"]
    mean, std = open_clip.OPENAI_DATASET_MEAN, open_clip.OPENAI_DATASET_STD
    return Compose([to_rgb_image, open_clip.image_transform(size, is_train=False, mean=mean, std=std)])


def to_rgb_image(image: Image | Tensor) -> Image:
    """A PIL image of any mode, or uint8 pixels (3, H, W) -> an upright RGB PIL image."""
    return to_pil_image(image) if isinstance(image, Tensor) else to_upright_rgb(image)
