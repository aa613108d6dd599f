"""Distinct images (scenes of the toy dataset), and near-duplicates of them as they occur on the web."""

import io
import random
from collections.abc import Callable
from functools import cache

from PIL import Image

from cloob.toy_data.render import render
from cloob.toy_data.scene import random_scene
from tests.helpers.sample_images import encode_image

SIZE = (160, 120)


@cache
def scene_image(seed: int, size: tuple[int, int] = SIZE) -> Image.Image:
    """A random scene, a function of the seed alone."""
    return render(random_scene(random.Random(seed)), size, random.Random(seed))


def decode_image(content: bytes) -> Image.Image:
    """The image of a file, in RGB."""
    return Image.open(io.BytesIO(content)).convert("RGB")


def _resize(image: Image.Image, factor: float, filter: Image.Resampling) -> Image.Image:
    return image.resize((round(image.width * factor), round(image.height * factor)), filter)


# Name of a transformation -> the bytes of the transformed image's file.
COPIES: dict[str, Callable[[Image.Image], bytes]] = {
    "jpeg 95": lambda image: encode_image(image, quality=95),
    "jpeg 75": lambda image: encode_image(image, quality=75),
    "jpeg 75 twice": lambda image: encode_image(decode_image(encode_image(image, quality=80)), quality=75),
    "png": lambda image: encode_image(image, "PNG"),
    "webp": lambda image: encode_image(image, "WEBP", quality=80),
    "half the size": lambda image: encode_image(_resize(image, 0.5, Image.Resampling.LANCZOS), quality=90),
    "half the size and back": lambda image: encode_image(
        _resize(_resize(image, 0.5, Image.Resampling.BICUBIC), 2, Image.Resampling.BICUBIC), quality=90
    ),
    "larger": lambda image: encode_image(_resize(image, 1.7, Image.Resampling.BILINEAR), quality=85),
    "squeezed into a square": lambda image: encode_image(image.resize((128, 128)), quality=90),
    "gray": lambda image: encode_image(image.convert("L"), quality=90),
}
