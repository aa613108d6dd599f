"""The paper's augmentation: a random crop of a share of the area, bicubic, no flip; uint8 stays uint8."""

import math

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from cloob.train.order import Address

# torchvision's RandomResizedCrop, which the authors use: its range of aspect ratios, its number of tries.
RATIO = (3 / 4, 4 / 3)
TRIES = 10


class RandomResizedCrop:
    """A crop of `scale` (least, most) of an image's area, resized to `size` × `size` pixels.

    Crops are distributed as torchvision's, but are a function of (seed, epoch, index) alone and draw from no
    global generator; its way to find one, a draw at a time, costs a tenth of loading an image.
    """

    def __init__(self, size: int, scale: tuple[float, float], seed: int) -> None:
        self.size, self.scale, self.seed = size, scale, seed

    def __call__(self, image: Tensor, address: Address) -> Tensor:
        """uint8 (3, H, W), (epoch, index) -> uint8 (3, size, size)."""
        top, left, height, width = self.box(*image.shape[1:], address)
        crop = image[None, :, top : top + height, left : left + width]
        crop = crop.contiguous(memory_format=torch.channels_last)  # the decoder's, and resized faster
        return F.interpolate(crop, (self.size, self.size), mode="bicubic", antialias=True)[0]

    def box(self, height: int, width: int, address: Address) -> tuple[int, int, int, int]:
        """Top, left, height and width of the crop of an image of `height` × `width` pixels.

        The first of the tries that fits into the image; the largest centerd one of a permitted aspect ratio
        where none does.
        """
        generator = np.random.default_rng([self.seed, *address])
        area = height * width * generator.uniform(*self.scale, TRIES)
        ratio = np.exp(generator.uniform(math.log(RATIO[0]), math.log(RATIO[1]), TRIES))
        widths, heights = np.rint(np.sqrt(area * ratio)), np.rint(np.sqrt(area / ratio))
        fits = (widths >= 1) & (widths <= width) & (heights >= 1) & (heights <= height)
        if not fits.any():
            crop_width = min(width, round(height * RATIO[1]))
            crop_height = min(height, round(width / RATIO[0]))
            return (height - crop_height) // 2, (width - crop_width) // 2, crop_height, crop_width
        first = int(fits.argmax())
        crop_height, crop_width = int(heights[first]), int(widths[first])
        top, left = generator.integers((height - crop_height + 1, width - crop_width + 1))
        return int(top), int(left), crop_height, crop_width
