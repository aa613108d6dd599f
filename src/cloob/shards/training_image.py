"""Validate an image for training: upright RGB or grayscale JPEGs are kept, others re-encoded or rejected."""

import io
from dataclasses import dataclass

from PIL import Image

from cloob.common.accounting import RejectedError
from cloob.images.decoding import JPEG_FORMATS, ImageError, exif_orientation, open_image, to_upright_rgb
from cloob.images.near_duplicates import perceptual_hash


@dataclass(frozen=True)
class ImagePolicy:
    """Limits on accepted images, and the JPEG quality of re-encoded ones.

    The fields after `quality` repeat the limits of the download, for images that did not pass through it;
    their defaults impose no limit.
    """

    max_bytes: int
    max_pixels: int
    quality: int
    image_size: int | None = None  # longest side in pixels; larger images are downscaled
    min_size: int = 0  # shortest side in pixels
    max_aspect_ratio: float | None = None  # longest side / shortest side


@dataclass(frozen=True)
class TrainingImage:
    """An upright RGB or grayscale JPEG, its size in pixels and its perceptual hash."""

    content: bytes
    width: int
    height: int
    reencoded: bool
    perceptual_hash: bytes | None


def prepare_image(content: bytes, policy: ImagePolicy) -> TrainingImage:
    """Decode an image in full. Upright RGB or grayscale JPEGs keep their bytes; others are re-encoded.

    Decoding follows `cloob.images.decoding`. Raises `RejectedError` with the outcome: too_many_bytes,
    too_many_pixels, too_complex, not_an_image, truncated_image, undecodable, too_small, aspect_ratio.
    """
    if len(content) > policy.max_bytes:
        raise RejectedError("too_many_bytes")
    try:
        with open_image(content, policy.max_pixels) as image:
            is_upright_jpeg = (
                image.format in JPEG_FORMATS and image.mode in ("RGB", "L") and exif_orientation(image) == 1
            )
            upright = image if is_upright_jpeg else to_upright_rgb(image)
    except ImageError as error:
        raise RejectedError(error.reason) from None
    size = _target_size(upright.width, upright.height, policy)
    if is_upright_jpeg and size == upright.size:
        return TrainingImage(content, *size, False, perceptual_hash(upright))
    rgb = to_upright_rgb(upright)
    if size != rgb.size:
        rgb = rgb.resize(size, Image.Resampling.BOX)  # area averaging, as in the download
    encoded = io.BytesIO()
    rgb.save(encoded, "JPEG", quality=policy.quality)
    return TrainingImage(encoded.getvalue(), *size, True, perceptual_hash(rgb))


def _target_size(width: int, height: int, policy: ImagePolicy) -> tuple[int, int]:
    """The size to store the image at; raises `RejectedError` for the sizes that the download rejects."""
    if min(width, height) < policy.min_size:
        raise RejectedError("too_small")
    if policy.max_aspect_ratio and max(width, height) / min(width, height) > policy.max_aspect_ratio:
        raise RejectedError("aspect_ratio")
    if policy.image_size is None or max(width, height) <= policy.image_size:
        return width, height
    scale = policy.image_size / max(width, height)
    return max(1, round(width * scale)), max(1, round(height * scale))
