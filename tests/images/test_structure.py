"""A small file that would keep a decoder busy for minutes is refused before any decoder sees it."""

import io
import struct
import time
import zlib
from pathlib import Path

import pytest
from PIL import Image

from cloob.download.fates import RefusedError
from cloob.errors import InputError
from cloob.evaluate.images import load_image
from cloob.image_structure import MAXIMUM_PARTS, MAXIMUM_SCANS, excess
from cloob.images import ImageError, decode_rgb
from cloob.shards.images import Rules, training_image


def encoded(form: str, **options: object) -> bytes:
    content = io.BytesIO()
    Image.effect_noise((200, 120), 60).convert("L").save(content, form, **options)
    return content.getvalue()


def with_scans(scans: int) -> bytes:
    """A progressive JPEG, its last scan repeated until there are so many."""
    content = encoded("JPEG", progressive=True)
    last, end = content.rindex(b"\xff\xda"), content.rindex(b"\xff\xd9")
    return content[:end] + content[last:end] * (scans - content.count(b"\xff\xda")) + content[end:]


def chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">L", len(body)) + kind + body + struct.pack(">L", zlib.crc32(kind + body))


JPEG, PNG, GIF = encoded("JPEG"), encoded("PNG"), encoded("GIF")
GIF_PICTURE = 13 + 3 * 256  # behind the header and its colors
TOO_COMPLEX = {
    "20,000 scans": with_scans(20_000),
    "scans behind data that looks like the end of the header": with_scans(10)[:2]
    + b"\xff\xe5\x00\x04\xff\xd9"
    + with_scans(MAXIMUM_SCANS + 1)[2:],
    "scans with fill bytes": with_scans(MAXIMUM_SCANS + 1).replace(b"\xff\xda", b"\xff\xff\xff\xda"),
    "scans behind garbage": with_scans(MAXIMUM_SCANS + 1).replace(b"\xff\xda", b"x\xff\x00\xff\xd0y\xff\xda"),
    "segments of a JPEG": JPEG[:2] + b"\xff\xe5\x00\x02" * (MAXIMUM_PARTS + 1) + JPEG[2:],
    "EXIF of a JPEG": JPEG[:2] + (b"\xff\xe1\xff\xff" + b"Exif\0\0".ljust(65_533)) * 257 + JPEG[2:],
    "chunks of a PNG": PNG[:33] + chunk(b"tEXt", b"a\0") * (MAXIMUM_PARTS + 1) + PNG[33:],
    "comments of a GIF": GIF[:GIF_PICTURE] + b"\x21\xfe\x01x\0" * MAXIMUM_PARTS + GIF[GIF_PICTURE:],
    "comments of a PPM": b"P6\n" + b"#\n" * 1_000_000 + b"1 1\n255\nabc",
    "a comment of a PPM": b"P6\n#" + b"x" * 1_000_000 + b"\n1 1\n255\nabc",
    "a plain PPM": b"P3\n1000 1000\n255\n" + b"#\n" * 1_000_000,
}


@pytest.mark.parametrize("content", TOO_COMPLEX.values(), ids=TOO_COMPLEX)
def test_what_might_keep_a_decoder_busy_is_refused_at_once(tmp_path: Path, content: bytes) -> None:
    began = time.monotonic()
    with pytest.raises(ImageError) as caught:
        decode_rgb(content)
    assert caught.value.reason == "too_complex"
    with pytest.raises(RefusedError, match="too_complex"):
        training_image(content, Rules(100_000_000, 10_000_000, 90))
    (tmp_path / "image").write_bytes(content)
    with pytest.raises(InputError, match="decoding it might take very long"):
        load_image(tmp_path / "image")
    assert time.monotonic() - began < 1


@pytest.mark.parametrize(
    "content",
    [
        with_scans(MAXIMUM_SCANS),
        encoded("JPEG", progressive=True),
        # What looks like scans within a segment is none: thumbnails, notes of cameras.
        JPEG[:2] + b"\xff\xe5\xff\xff" + b"\xff\xda" * 32_766 + b"x" + JPEG[2:],
        encoded("JPEG", icc_profile=b"\xff\xda" * 500_000),
        JPEG + with_scans(500),  # what follows the end is not decoded
        PNG,
        PNG + chunk(b"tEXt", b"a\0") * (MAXIMUM_PARTS + 1),
        GIF,
        encoded("GIF", comment=b"x" * 60_000),
        encoded("WEBP"),
        encoded("BMP"),
        encoded("TIFF"),
        encoded("PPM"),
        b"P6 # a comment\n# another\n 1 1\n255\nabc",
    ],
    ids=range(14),
)
def test_what_encoders_and_cameras_write_is_not(content: bytes) -> None:
    assert excess(content) is None
    decode_rgb(content)


@pytest.mark.parametrize("content", [b"", b"\xff\xd8", b"\xff\xd8\xff\xda", PNG[:10], GIF[:9], b"P6"])
def test_torn_files_are_no_trouble(content: bytes) -> None:
    excess(content)
