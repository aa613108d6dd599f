"""Can training decode this image, upright and in RGB? If not, it is encoded again, or refused."""

import io
from dataclasses import dataclass

from PIL import Image

from cloob.common.accounting import RejectedError
from cloob.images.decoding import JPEG_FORMATS, ImageError, exif_orientation, open_image, to_upright_rgb
from cloob.images.near_duplicates import perceptual_hash


@dataclass(frozen=True)
class ImagePolicy:
    """What an image may cost, and the JPEG quality of one that has to be encoded again.

    The others are the download's rules, for images that have not come through it; None and 0 ask for nothing.
    """

    max_bytes: int
    max_pixels: int
    quality: int
    image_size: int | None = None  # longest side in pixels; larger images are scaled down
    min_size: int = 0  # shortest side in pixels
    max_aspect_ratio: float | None = None  # longer side over shorter side


@dataclass(frozen=True)
class TrainingImage:
    """A JPEG, upright, RGB or grey; its size in pixels, whether it was re-encoded, its perceptual hash."""

    content: bytes
    width: int
    height: int
    reencoded: bool
    perceptual_hash: bytes | None


def prepare_image(content: bytes, rules: ImagePolicy) -> TrainingImage:
    """Decode the image in full; keep its bytes where it is an upright RGB or grey JPEG, else encode it again.

    Decoding: `cloob.images.decoding`. Raises `RefusedError` with the outcome: too_many_bytes, too_many_pixels,
    too_complex, not_an_image, truncated_image, undecodable, too_small, aspect_ratio.
    """
    if len(content) > rules.max_bytes:
        raise RejectedError("too_many_bytes")
    try:
        with open_image(content, rules.max_pixels) as image:
            is_plain = (
                image.format in JPEG_FORMATS and image.mode in ("RGB", "L") and exif_orientation(image) == 1
            )
            seen = image if is_plain else to_upright_rgb(image)
    except ImageError as error:
        raise RejectedError(error.reason) from None
    size = _fitting(seen.width, seen.height, rules)
    if is_plain and size == seen.size:
        return TrainingImage(content, *size, False, perceptual_hash(seen))
    rgb = to_upright_rgb(seen)
    if size != rgb.size:
        rgb = rgb.resize(size, Image.Resampling.BOX)  # means over areas, as the download scales
    encoded = io.BytesIO()
    rgb.save(encoded, "JPEG", quality=rules.quality)
    return TrainingImage(encoded.getvalue(), *size, True, perceptual_hash(rgb))


def _fitting(width: int, height: int, rules: ImagePolicy) -> tuple[int, int]:
    """The size at which an image is kept; raises `RefusedError` as the download refuses one of this size."""
    if min(width, height) < rules.min_size:
        raise RejectedError("too_small")
    if rules.max_aspect_ratio and max(width, height) / min(width, height) > rules.max_aspect_ratio:
        raise RejectedError("aspect_ratio")
    if rules.image_size is None or max(width, height) <= rules.image_size:
        return width, height
    scale = rules.image_size / max(width, height)
    return max(1, round(width * scale)), max(1, round(height * scale))
