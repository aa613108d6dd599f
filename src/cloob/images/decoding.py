"""The decoding policy: from the bytes of an image file to an upright 8-bit RGB image.

All stages use it: the download, the shards, evaluation and `model.preprocess`.

- Formats: `FORMATS`, detected by content; none that starts another program (EPS). Only the first frame.
- Orientation: the EXIF orientation is applied, in every format. Unreadable EXIF is ignored.
- Transparency: composed over white, as img2dataset does. (torchvision and open_clip drop the alpha channel,
  which shows arbitrary colors below it. For opaque images there is no difference.)
- Depth: 16 bits per channel are reduced to 8 by v / 257, rounded. Modes without a fixed white (I, F) have the
  first range of `_RANGES` that contains all values, else the range from minimum to maximum value.
- Color: Pillow converts CMYK (including Adobe's inverted form), YCbCr, LAB and HSV, to sRGB if the mode
  defines its colors. Embedded color profiles are not applied (no comparable code does).
- Size: at most `max_pixels`, checked in the header before anything is decoded. Images for a model, which
  scales their shorter side to its input size, are at most `MAX_ASPECT_RATIO` times as long as wide: a strip
  of 1 × 10,000,000 pixels would need terabytes.
- Structure: within the limits of `cloob.images.structure`, checked before decoding.
- Errors: `ImageError` for all defects of the bytes. Running out of memory or file descriptors is not a defect
  of the bytes and raises the original error.

Upright RGB or grayscale JPEGs may be decoded by torchvision instead where only speed matters, as in training;
pixels differ by at most one gray level.
"""

import io
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
from PIL import ExifTags, Image, UnidentifiedImageError

from cloob.images.structure import complexity_violation

FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "PPM")
# Pillow's names for JPEG files; phones write multi-picture files (MPO), whose first image is a plain JPEG.
JPEG_FORMATS = ("JPEG", "MPO")

_UPRIGHT = {  # EXIF orientations other than 1, and the transposition that undoes them
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
MAX_ASPECT_RATIO = 200
_RANGES = {"I": (255, 65_535), "F": (1, 255, 65_535)}  # candidate white values; black is 0
_PIXELS_PER_BLOCK = 1 << 20
_WITH_ALPHA = ("LA", "La", "PA", "RGBA", "RGBa")
_WITH_TRANSPARENT_COLOR = ("1", "L", "P", "RGB")


class ImageError(Exception):
    """An image that cannot be decoded.

    `reason` is too_complex, too_many_pixels, too_elongated, not_an_image, truncated_image or undecodable.
    """

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason


def decode_rgb(content: bytes, max_pixels: int | None = None) -> Image.Image:
    """Decode the bytes of an image file to an upright RGB image.

    `max_pixels` defaults to Pillow's own limit (89 million). Raises `ImageError`.
    """
    with open_image(content, max_pixels) as image:
        return to_upright_rgb(image)


def decode_for_model(content: bytes) -> Image.Image:
    """`decode_rgb` for a model's `preprocess`: raises `ImageError` for strips, too (`MAX_ASPECT_RATIO`)."""
    image = decode_rgb(content)
    if max(image.size) > MAX_ASPECT_RATIO * min(image.size):
        raise ImageError(
            "too_elongated",
            f"{image.width} × {image.height} pixels: more than {MAX_ASPECT_RATIO} times as long as wide",
        )
    return image


@contextmanager
def open_image(content: bytes, max_pixels: int | None = None) -> Iterator[Image.Image]:
    """Yield the image as stored, decoded in full; decoding errors in the block are `ImageError`s, too."""
    if violation := complexity_violation(content):
        raise ImageError("too_complex", f"{violation}: decoding might take very long")
    try:
        with _without_warnings():
            image = Image.open(io.BytesIO(content), formats=FORMATS)
            check_pixels(image, max_pixels)
            image.load()
        yield image
    except (ImageError, MemoryError, ImportError):
        raise
    except UnidentifiedImageError:
        raise ImageError(
            "not_an_image", f"cannot identify the format; supported: {', '.join(FORMATS)}"
        ) from None
    except (Image.DecompressionBombError, Image.DecompressionBombWarning):
        raise _too_many_pixels(Image.MAX_IMAGE_PIXELS) from None
    # Malformed images make the decoders raise almost any exception (struct.error, KeyError, zlib.error …).
    except Exception as error:
        if isinstance(error, OSError) and error.errno is not None:  # an error of the operating system
            raise
        reason = "truncated_image" if "truncated" in str(error) else "undecodable"
        raise ImageError(reason, str(error) or type(error).__name__) from None


def check_pixels(image: Image.Image, max_pixels: int | None = None) -> None:
    """Raise `ImageError` if an image, of which only the header needs to be read, has too many pixels."""
    limit = Image.MAX_IMAGE_PIXELS if max_pixels is None else max_pixels
    if limit is not None and image.width * image.height > limit:
        raise _too_many_pixels(limit)


def _too_many_pixels(limit: int | None) -> ImageError:
    return ImageError("too_many_pixels", f"more than {limit} pixels, rejected as a decompression bomb")


def to_upright_rgb(image: Image.Image) -> Image.Image:
    """Convert a Pillow image of any mode to upright RGB. An upright RGB image is returned unchanged."""
    image.load()  # a PNG's EXIF may follow its pixels
    transposition = _UPRIGHT.get(exif_orientation(image))
    rgb = _to_rgb(image)
    if transposition is not None:
        rgb = rgb.transpose(transposition)
    if rgb is not image:
        rgb.info = {}  # orientation and transparency have been applied
    return rgb


def _without_warnings() -> warnings.catch_warnings:
    """Suppress Pillow's warnings about odd metadata (harmless) and many pixels (checked here)."""
    return warnings.catch_warnings(action="ignore")


def exif_orientation(image: Image.Image) -> int:
    """The EXIF orientation, from 1 (upright) to 8; 1 if it is missing or invalid."""
    try:
        with _without_warnings():
            value = image.getexif().get(ExifTags.Base.Orientation, 1)
    except Exception:  # malformed EXIF
        return 1
    return value if value in _UPRIGHT else 1


def _to_rgb(image: Image.Image) -> Image.Image:
    mode = image.mode
    if mode.startswith("I;16"):
        gray = _scale_to_uint8(np.asarray(image), 65_535)
        gray[np.asarray(image) == image.info.get("transparency", -1)] = 255
        return Image.fromarray(gray).convert("RGB")
    if mode in _RANGES:
        return Image.fromarray(_range_to_uint8(np.asarray(image), _RANGES[mode])).convert("RGB")
    if mode in ("La", "RGBa"):  # premultiplied alpha, for which Pillow has no other conversion
        image = image.convert({"La": "LA", "RGBa": "RGBA"}[mode])
    if mode in _WITH_ALPHA or (mode in _WITH_TRANSPARENT_COLOR and image.has_transparency_data):
        white = Image.new("RGBA", image.size, "white")
        return Image.alpha_composite(white, image.convert("RGBA")).convert("RGB")
    return image if mode == "RGB" else image.convert("RGB")


def _range_to_uint8(values: np.ndarray, white_values: tuple[int, ...]) -> np.ndarray:
    """Convert values without a fixed white to 8 bits; values that are not finite become black."""
    values = np.where(np.isfinite(values), values, values.dtype.type(0))
    low, high = float(values.min()), float(values.max())
    for white in white_values:
        if low >= 0 and high <= white:
            return _scale_to_uint8(values, white)
    return _scale_to_uint8(values, high - low or 1, low)


def _scale_to_uint8(values: np.ndarray, white: float, black: float = 0) -> np.ndarray:
    """Scale values from `black` to `black` + `white` to uint8, rounded."""
    result = np.empty(values.size, dtype=np.uint8)
    # In blocks, so that the float64 values need little memory.
    for start in range(0, values.size, _PIXELS_PER_BLOCK):
        block = values.reshape(-1)[start : start + _PIXELS_PER_BLOCK].astype(np.float64)
        result[start : start + _PIXELS_PER_BLOCK] = np.rint((block - black) / white * 255)
    return result.reshape(values.shape)
