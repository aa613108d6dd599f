"""The paper's augmentation: a random resized crop (bicubic) without flipping; uint8 in and out."""

import math
import random

import torch
import torch.nn.functional as F
from torch import Tensor

from cloob.train.order import SampleKey

# As torchvision's RandomResizedCrop, which the authors use: range of aspect ratios, number of attempts.
ASPECT_RATIO = (3 / 4, 4 / 3)
LOG_ASPECT_RATIO = (math.log(ASPECT_RATIO[0]), math.log(ASPECT_RATIO[1]))
ATTEMPTS = 10


class RandomResizedCrop:
    """A crop of a fraction `scale` = (min, max) of an image's area, resized to `size` × `size` pixels.

    The crops have the distribution of torchvision's, but are a pure function of (seed, epoch, index) and use
    no global random generator.
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
        # Python's generator: seeding it and drawing a few numbers takes a fifth of the time of NumPy's.
        generator = random.Random(" ".join(map(str, (self.seed, *key))))
        for _ in range(ATTEMPTS):
            area = height * width * generator.uniform(*self.scale)
            ratio = math.exp(generator.uniform(*LOG_ASPECT_RATIO))
            crop_width, crop_height = round(math.sqrt(area * ratio)), round(math.sqrt(area / ratio))
            if 1 <= crop_width <= width and 1 <= crop_height <= height:
                top = int(generator.random() * (height - crop_height + 1))
                left = int(generator.random() * (width - crop_width + 1))
                return top, left, crop_height, crop_width
        crop_width = min(width, round(height * ASPECT_RATIO[1]))
        crop_height = min(height, round(width / ASPECT_RATIO[0]))
        return (height - crop_height) // 2, (width - crop_width) // 2, crop_height, crop_width
