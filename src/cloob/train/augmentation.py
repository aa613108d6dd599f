"""The paper's augmentation: a random resized crop (bicubic) without flipping; uint8 in and out."""

import math

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from cloob.train.order import SampleKey

# As torchvision's RandomResizedCrop, which the authors use: range of aspect ratios, number of attempts.
ASPECT_RATIO = (3 / 4, 4 / 3)
ATTEMPTS = 10


class RandomResizedCrop:
    """A crop of a fraction `scale` = (min, max) of an image's area, resized to `size` × `size` pixels.

    The crops have the distribution of torchvision's, but are a pure function of (seed, epoch, index) and use
    no global random generator. All attempts are drawn at once: drawing them one at a time, as torchvision
    does, takes a tenth of the time to load an image.
    """

    def __init__(self, size: int, scale: tuple[float, float], seed: int) -> None:
        self.size, self.scale, self.seed = size, scale, seed

    def __call__(self, image: Tensor, key: SampleKey) -> Tensor:
        """uint8 (3, H, W), (epoch, index) -> uint8 (3, size, size)."""
        top, left, height, width = self.box(image.shape[1], image.shape[2], key)
        crop = image[None, :, top : top + height, left : left + width]
        crop = crop.contiguous(memory_format=torch.channels_last)  # the decoder's layout; faster to resize
        return F.interpolate(crop, (self.size, self.size), mode="bicubic", antialias=True)[0]

    def box(self, height: int, width: int, key: SampleKey) -> tuple[int, int, int, int]:
        """(top, left, height, width) of the crop of an image of `height` × `width` pixels.

        The first attempt that fits into the image; if none does, the largest centered crop with an allowed
        aspect ratio.
        """
        generator = np.random.default_rng([self.seed, *key])
        area = height * width * generator.uniform(*self.scale, ATTEMPTS)
        log_ratio = generator.uniform(math.log(ASPECT_RATIO[0]), math.log(ASPECT_RATIO[1]), ATTEMPTS)
        ratio = np.exp(log_ratio)
        widths, heights = np.rint(np.sqrt(area * ratio)), np.rint(np.sqrt(area / ratio))
        fits = (widths >= 1) & (widths <= width) & (heights >= 1) & (heights <= height)
        if not fits.any():
            crop_width = min(width, round(height * ASPECT_RATIO[1]))
            crop_height = min(height, round(width / ASPECT_RATIO[0]))
            return (height - crop_height) // 2, (width - crop_width) // 2, crop_height, crop_width
        first = int(fits.argmax())
        crop_height, crop_width = int(heights[first]), int(widths[first])
        top, left = generator.integers((height - crop_height + 1, width - crop_width + 1))
        return int(top), int(left), crop_height, crop_width
