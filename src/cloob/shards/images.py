"""Can training decode this image, upright and in RGB? If not, it is encoded again, or refused."""

import io
from dataclasses import dataclass

from cloob.download.fates import RefusedError
from cloob.images import JPEG, ImageError, opened, orientation, upright_rgb
from cloob.near_duplicates import perceptual_hash


@dataclass(frozen=True)
class Rules:
    """What an image may cost, and the JPEG quality of one that has to be encoded again."""

    maximum_bytes: int
    maximum_pixels: int
    quality: int


@dataclass(frozen=True)
class TrainingImage:
    """A JPEG, upright, RGB or grey; its size in pixels, whether it was re-encoded, its perceptual hash."""

    content: bytes
    width: int
    height: int
    reencoded: bool
    perceptual_hash: bytes | None


def training_image(content: bytes, rules: Rules) -> TrainingImage:
    """Decode the image in full; keep its bytes where it is an upright RGB or grey JPEG, else encode it again.

    How it is decoded: `cloob.images`. Raises `RefusedError` with the fate: too_many_bytes, too_many_pixels,
    not_an_image, truncated_image, undecodable.
    """
    if len(content) > rules.maximum_bytes:
        raise RefusedError("too_many_bytes")
    try:
        with opened(content, rules.maximum_pixels) as image:
            if image.format in JPEG and image.mode in ("RGB", "L") and orientation(image) == 1:
                return TrainingImage(content, image.width, image.height, False, perceptual_hash(image))
            rgb = upright_rgb(image)
    except ImageError as error:
        raise RefusedError(error.reason) from None
    encoded = io.BytesIO()
    rgb.save(encoded, "JPEG", quality=rules.quality)
    return TrainingImage(encoded.getvalue(), rgb.width, rgb.height, True, perceptual_hash(rgb))
