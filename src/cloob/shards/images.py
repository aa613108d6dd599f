"""Can training decode this image, upright and in RGB? If not, it is encoded again, or refused."""

import io
import warnings
from dataclasses import dataclass

import numpy as np
from PIL import ExifTags, Image, ImageOps, UnidentifiedImageError

from cloob.download.fates import RefusedError
from cloob.near_duplicates import perceptual_hash

# Phones write "multi-picture" files; every decoder reads the first picture as plain JPEG.
_JPEG = ("JPEG", "MPO")
# Nothing that runs another program (EPS) or reads what no web page shows.
_FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF")
_TURNED = range(2, 9)  # EXIF's orientations other than upright


@dataclass(frozen=True)
class Rules:
    """What an image may cost, and the JPEG quality of one that has to be encoded again."""

    maximum_bytes: int
    maximum_pixels: int
    quality: int


@dataclass(frozen=True)
class TrainingImage:
    """A JPEG, upright, RGB or grey; its size in pixels and its perceptual hash; whether it was re-encoded."""

    content: bytes
    width: int
    height: int
    reencoded: bool
    perceptual_hash: bytes | None = None


def training_image(content: bytes, rules: Rules) -> TrainingImage:
    """Decode the image in full; keep its bytes where it is an upright RGB or grey JPEG, else encode it again.

    Of an animation the first picture; what is transparent becomes white; 16 bits become 8. Raises
    `RefusedError` with the fate: too_many_bytes, too_many_pixels, not_an_image, truncated_image, undecodable.
    """
    if len(content) > rules.maximum_bytes:
        raise RefusedError("too_many_bytes")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # odd EXIF does no harm
            return _decoded(content, rules)
    except RefusedError:
        raise
    except UnidentifiedImageError:
        raise RefusedError("not_an_image") from None
    except Image.DecompressionBombError:
        raise RefusedError("too_many_pixels") from None
    # Strangers' bytes make the decoders raise nearly anything (struct.error, KeyError, zlib.error …).
    except Exception as error:
        raise RefusedError("truncated_image" if "truncated" in str(error) else "undecodable") from None


def _decoded(content: bytes, rules: Rules) -> TrainingImage:
    with Image.open(io.BytesIO(content), formats=_FORMATS) as image:
        if image.width * image.height > rules.maximum_pixels:
            raise RefusedError("too_many_pixels")
        image.load()
        turned = _orientation(image) in _TURNED
        if image.format in _JPEG and image.mode in ("RGB", "L") and not turned:
            return TrainingImage(content, image.width, image.height, False, perceptual_hash(image))
        upright = ImageOps.exif_transpose(image) if turned else image
        plain = _rgb(upright)
    encoded = io.BytesIO()
    plain.save(encoded, "JPEG", quality=rules.quality)
    return TrainingImage(encoded.getvalue(), plain.width, plain.height, True, perceptual_hash(plain))


def _orientation(image: Image.Image) -> int:
    try:
        return image.getexif().get(ExifTags.Base.Orientation, 1)
    except Exception:  # malformed EXIF, which says nothing
        return 1


def _rgb(image: Image.Image) -> Image.Image:
    if image.mode.startswith("I"):  # 16 bits of grey
        return Image.fromarray((np.asarray(image) >> 8).astype(np.uint8)).convert("RGB")
    if image.has_transparency_data:
        white = Image.new("RGBA", image.size, "white")
        return Image.alpha_composite(white, image.convert("RGBA")).convert("RGB")
    return image.convert("RGB")
