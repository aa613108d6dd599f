"""Is this an image that a training job can decode?"""

import io
import warnings
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

from PIL import Image, UnidentifiedImageError

from cloob.download.fates import RefusedError

Place = tuple[Path, int, int]  # a file, offset and length of the image's bytes in it

# Phones write "multi-picture" files; every decoder reads the first picture as plain JPEG.
_JPEG = ("JPEG", "MPO")


@dataclass(frozen=True)
class Verdict:
    """What decoding has shown: the image's facts, or the fate it is refused with."""

    sha256: str = ""
    width: int = 0
    height: int = 0
    refused: str | None = None


def verdicts(places: list[Place]) -> list[Verdict]:
    """Judge several images, read from where they lie."""
    return [verdict(read_place(place)) for place in places]


def read_place(place: Place) -> bytes:
    """The bytes of an image."""
    path, offset, length = place
    with path.open("rb") as file:
        file.seek(offset)
        return file.read(length)


def verdict(content: bytes) -> Verdict:
    """Decode the image in full, to RGB. Fates of refusal: not_jpeg, truncated_image, undecodable."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # odd EXIF does no harm
            width, height = _decode(content)
    except RefusedError as refusal:
        return Verdict(refused=str(refusal))
    return Verdict(sha256(content).hexdigest(), width, height)


def _decode(content: bytes) -> tuple[int, int]:
    try:
        with Image.open(io.BytesIO(content)) as image:
            if image.format not in _JPEG:
                raise RefusedError("not_jpeg")
            return image.convert("RGB").size
    except UnidentifiedImageError:
        raise RefusedError("not_jpeg") from None
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise RefusedError("truncated_image" if "truncated" in str(error) else "undecodable") from None
