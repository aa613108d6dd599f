"""Different pictures, of scenes of the toy dataset, and copies of them as they circulate on the web."""

import io
import random
from collections.abc import Callable
from functools import cache

from PIL import Image

from cloob.toy_data.render import render
from cloob.toy_data.scene import random_scene

SIZE = (160, 120)


@cache
def scene(seed: int, size: tuple[int, int] = SIZE) -> Image.Image:
    """A picture that is a function of its seed."""
    return render(random_scene(random.Random(seed)), size, random.Random(seed))


def encoded(image: Image.Image, form: str = "JPEG", **options: object) -> bytes:
    """The bytes of a file of it."""
    content = io.BytesIO()
    image.save(content, form, **options)
    return content.getvalue()


def decoded(content: bytes) -> Image.Image:
    """The picture of a file."""
    return Image.open(io.BytesIO(content)).convert("RGB")


def _resized(image: Image.Image, factor: float, filter: Image.Resampling) -> Image.Image:
    return image.resize((round(image.width * factor), round(image.height * factor)), filter)


# A copy's name -> the bytes of its file.
COPIES: dict[str, Callable[[Image.Image], bytes]] = {
    "jpeg 95": lambda image: encoded(image, quality=95),
    "jpeg 75": lambda image: encoded(image, quality=75),
    "jpeg 75 twice": lambda image: encoded(decoded(encoded(image, quality=80)), quality=75),
    "png": lambda image: encoded(image, "PNG"),
    "webp": lambda image: encoded(image, "WEBP", quality=80),
    "half the size": lambda image: encoded(_resized(image, 0.5, Image.Resampling.LANCZOS), quality=90),
    "half the size and back": lambda image: encoded(
        _resized(_resized(image, 0.5, Image.Resampling.BICUBIC), 2, Image.Resampling.BICUBIC), quality=90
    ),
    "larger": lambda image: encoded(_resized(image, 1.7, Image.Resampling.BILINEAR), quality=85),
    "squeezed into a square": lambda image: encoded(image.resize((128, 128)), quality=90),
    "gray": lambda image: encoded(image.convert("L"), quality=90),
}
