"""The decoding policy: from the bytes of an image file to an upright 8-bit RGB image.

It holds wherever a picture is decoded: in the download, the shards, evaluation and `model.preprocess`.

- Formats: `FORMATS`, told by content. Nothing that starts another program (EPS); of several frames the first.
- Orientation: the EXIF orientation is applied, in every format. EXIF that cannot be read says nothing.
- Transparency: composed over white, as img2dataset does. (torchvision and open_clip drop the alpha channel
  and show whatever color is below it; the two agree wherever an image is opaque.)
- Depth: 16 bits per channel become 8 by v / 257, rounded. Modes without a fixed white (I, F) have the range
  of the first of `_RANGES` that holds all their values, else from their least to their greatest value.
- Color: CMYK (Adobe's inverted form included), YCbCr, LAB and HSV are converted by Pillow, to sRGB where
  a mode defines its colors; embedded color profiles are not applied (no peer does).
- Size: at most `max_pixels`, checked on the header before anything is decoded.
- Structure: at most what `cloob.images.structure` allows of scans and other parts, counted before that.
- Errors: `ImageError` for whatever is wrong with the bytes. Lack of memory or files is no fault of theirs and
  is raised as it is.

JPEGs that are RGB or gray and upright may be decoded by torchvision instead where only speed counts (training
does): at most one gray level apart.
"""

import io
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
from PIL import ExifTags, Image, UnidentifiedImageError

from cloob.images.structure import complexity_violation

FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "PPM")
# Pillow's names for a JPEG; phones write "multi-picture" files, whose first picture is a plain JPEG.
JPEG_FORMATS = ("JPEG", "MPO")

_UPRIGHT = {  # EXIF's orientations other than 1, and what undoes them
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_RANGES = {"I": (255, 65_535), "F": (1, 255, 65_535)}  # from 0 to
_AT_ONCE = 1 << 20
_WITH_ALPHA = ("LA", "La", "PA", "RGBA", "RGBa")
_WITH_TRANSPARENT_COLOR = ("1", "L", "P", "RGB")


class ImageError(Exception):
    """Bytes that are not decoded.

    `reason` is too_complex, too_many_pixels, not_an_image, truncated_image or undecodable; the message says
    it in words.
    """

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason


def decode_rgb(content: bytes, max_pixels: int | None = None) -> Image.Image:
    """The bytes of an image file as an upright RGB image, by the policy above.

    `max_pixels` is Pillow's own limit (89 million) where it is None. Raises `ImageError`.
    """
    with open_image(content, max_pixels) as image:
        return to_upright_rgb(image)


@contextmanager
def open_image(content: bytes, max_pixels: int | None = None) -> Iterator[Image.Image]:
    """The image as it is stored, decoded in full; errors of decoding in the block are `ImageError`s too."""
    if excessive := complexity_violation(content):
        raise ImageError("too_complex", f"{excessive}: decoding it might take very long")
    try:
        with _without_warnings():
            image = Image.open(io.BytesIO(content), formats=FORMATS)
            check_pixels(image, max_pixels)
            image.load()
        yield image
    except (ImageError, MemoryError, ImportError):
        raise
    except UnidentifiedImageError:
        raise ImageError("not_an_image", f"cannot identify it as one of {', '.join(FORMATS)}") from None
    except (Image.DecompressionBombError, Image.DecompressionBombWarning):
        raise _too_many_pixels(Image.MAX_IMAGE_PIXELS) from None
    # Strangers' bytes make the decoders raise nearly anything (struct.error, KeyError, zlib.error …).
    except Exception as error:
        if (
            isinstance(error, OSError) and error.errno is not None
        ):  # of the operating system, not of a decoder
            raise
        reason = "truncated_image" if "truncated" in str(error) else "undecodable"
        raise ImageError(reason, str(error) or type(error).__name__) from None


def check_pixels(image: Image.Image, max_pixels: int | None = None) -> None:
    """Raise `ImageError` where an image, of which only the header need be read, has too many pixels."""
    limit = Image.MAX_IMAGE_PIXELS if max_pixels is None else max_pixels
    if limit is not None and image.width * image.height > limit:
        raise _too_many_pixels(limit)


def _too_many_pixels(limit: int | None) -> ImageError:
    return ImageError("too_many_pixels", f"more than {limit} pixels, refused as a decompression bomb")


def to_upright_rgb(image: Image.Image) -> Image.Image:
    """Any image of Pillow's, of whatever mode, as upright RGB. An upright RGB image is returned as it is."""
    image.load()  # a PNG's EXIF may follow its pixels
    turn = _UPRIGHT.get(exif_orientation(image))
    rgb = _rgb(image)
    if turn is not None:
        rgb = rgb.transpose(turn)
    if rgb is not image:
        rgb.info = {}  # its orientation and transparency have been applied
    return rgb


def _without_warnings() -> warnings.catch_warnings:
    """Pillow warns of odd metadata, which does no harm, and of many pixels, which are counted here."""
    return warnings.catch_warnings(action="ignore")


def exif_orientation(image: Image.Image) -> int:
    """The EXIF orientation, 1 (upright) to 8; 1 where there is none that makes sense."""
    try:
        with _without_warnings():
            found = image.getexif().get(ExifTags.Base.Orientation, 1)
    except Exception:  # malformed EXIF, which says nothing
        return 1
    return found if found in _UPRIGHT else 1


def _rgb(image: Image.Image) -> Image.Image:
    mode = image.mode
    if mode.startswith("I;16"):
        gray = _scaled(np.asarray(image), 65_535)
        gray[np.asarray(image) == image.info.get("transparency", -1)] = 255
        return Image.fromarray(gray).convert("RGB")
    if mode in _RANGES:
        return Image.fromarray(_from_range(np.asarray(image), _RANGES[mode])).convert("RGB")
    if mode in ("La", "RGBa"):  # premultiplied, of which Pillow converts to nothing else
        image = image.convert({"La": "LA", "RGBa": "RGBA"}[mode])
    if mode in _WITH_ALPHA or (mode in _WITH_TRANSPARENT_COLOR and image.has_transparency_data):
        white = Image.new("RGBA", image.size, "white")
        return Image.alpha_composite(white, image.convert("RGBA")).convert("RGB")
    return image if mode == "RGB" else image.convert("RGB")


def _from_range(values: np.ndarray, greatest: tuple[int, ...]) -> np.ndarray:
    """Numbers without a fixed white as 8 bits; what is not finite is black."""
    values = np.where(np.isfinite(values), values, values.dtype.type(0))
    least, most = float(values.min()), float(values.max())
    for white in greatest:
        if least >= 0 and most <= white:
            return _scaled(values, white)
    return _scaled(values, most - least or 1, least)


def _scaled(values: np.ndarray, white: float, black: float = 0) -> np.ndarray:
    """Values from `black` to `black` + `white` as uint8, rounded."""
    eight = np.empty(values.size, dtype=np.uint8)
    for start in range(0, values.size, _AT_ONCE):  # so that the wider numbers need little memory
        some = values.reshape(-1)[start : start + _AT_ONCE].astype(np.float64)
        eight[start : start + _AT_ONCE] = np.rint((some - black) / white * 255)
    return eight.reshape(values.shape)
