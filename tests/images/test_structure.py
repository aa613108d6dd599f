"""Small files that would occupy a decoder for minutes are rejected before any decoder sees them."""

import io
import struct
import time
import zlib
from pathlib import Path

import pytest
from PIL import Image

from cloob.common.accounting import RejectedError
from cloob.common.errors import InputError
from cloob.evaluate.testsets.image_folder import load_image
from cloob.images.decoding import ImageError, decode_rgb
from cloob.images.structure import MAX_PARTS, MAX_SCANS, complexity_violation
from cloob.shards.training_image import ImagePolicy, prepare_image


def encode_noise(form: str, **options: object) -> bytes:
    content = io.BytesIO()
    Image.effect_noise((200, 120), 60).convert("L").save(content, form, **options)
    return content.getvalue()


def with_scans(scans: int) -> bytes:
    """A progressive JPEG with the given number of scans: the last one is repeated."""
    content = encode_noise("JPEG", progressive=True)
    last, end = content.rindex(b"\xff\xda"), content.rindex(b"\xff\xd9")
    return content[:end] + content[last:end] * (scans - content.count(b"\xff\xda")) + content[end:]


def with_size(content: bytes, side: int) -> bytes:
    """A JPEG whose header declares another size."""
    frame = content.index(b"\xff\xc2" if b"\xff\xc2" in content else b"\xff\xc0")
    return content[: frame + 5] + struct.pack(">HH", side, side) + content[frame + 9 :]


def tiff_of_strips(strips: int, order: str = "<") -> bytes:
    """An image of one column, with one strip per row."""
    tags = {256: 1, 257: strips, 258: 8, 259: 1, 262: 1, 277: 1, 278: 1}
    table = 8 + 2 + 12 * (len(tags) + 2) + 4
    entries = b"".join(
        [
            *(struct.pack(order + "HHLL", tag, 4, 1, tags[tag]) for tag in (256, 257, 258, 259, 262)),
            struct.pack(order + "HHLL", 273, 4, strips, table),
            *(struct.pack(order + "HHLL", tag, 4, 1, tags[tag]) for tag in (277, 278)),
            struct.pack(order + "HHLL", 279, 4, strips, table + 4 * strips),
        ]
    )
    header = (b"II*\0" if order == "<" else b"MM\0*") + struct.pack(order + "LH", 8, len(tags) + 2)
    return (
        header
        + entries
        + bytes(4)
        + struct.pack(order + "L", 8) * strips
        + struct.pack(order + "L", 1) * strips
    )


def tiff_of_one_tile(side: int, tile_side: int, order: str = "<") -> bytes:
    """A black image in one compressed tile."""
    tile = zlib.compress(bytes(tile_side**2), 1)
    tags = {256: side, 257: side, 258: 8, 259: 8, 262: 1, 277: 1, 322: tile_side, 323: tile_side}
    end = 8 + 2 + 12 * (len(tags) + 2) + 4
    entries = [struct.pack(order + "HHLHH", tag, 3, 1, value, 0) for tag, value in tags.items()]
    entries += [
        struct.pack(order + "HHLL", tag, 4, 1, value) for tag, value in ((324, end), (325, len(tile)))
    ]
    header = (b"II*\0" if order == "<" else b"MM\0*") + struct.pack(order + "LH", 8, len(tags) + 2)
    return header + b"".join(entries) + bytes(4) + tile


def bmp_of_run_lengths(width: int, height: int, runs: bytes) -> bytes:
    size = struct.pack("<LHHL", 0, 0, 0, 1078)
    return (
        b"BM"
        + size
        + struct.pack("<LllHHLLllLL", 40, width, height, 1, 8, 1, 0, 0, 0, 256, 0)
        + bytes(1024)
        + runs
    )


def chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">L", len(body)) + kind + body + struct.pack(">L", zlib.crc32(kind + body))


JPEG, PNG, GIF = encode_noise("JPEG"), encode_noise("PNG"), encode_noise("GIF")
GIF_IMAGE = 13 + 3 * 256  # offset after the header and its color table
TOO_COMPLEX = {
    "20,000 scans": with_scans(20_000),
    "scans after data that looks like the end of the header": with_scans(10)[:2]
    + b"\xff\xe5\x00\x04\xff\xd9"
    + with_scans(MAX_SCANS + 1)[2:],
    "scans with fill bytes": with_scans(MAX_SCANS + 1).replace(b"\xff\xda", b"\xff\xff\xff\xda"),
    "scans after garbage": with_scans(MAX_SCANS + 1).replace(b"\xff\xda", b"x\xff\x00\xff\xd0y\xff\xda"),
    "segments of a JPEG": JPEG[:2] + b"\xff\xe5\x00\x02" * (MAX_PARTS + 1) + JPEG[2:],
    "scans of many pixels": with_size(with_scans(30), 9_000),
    "fill bytes": JPEG[:2] + b"\xff" * 1_000_000 + JPEG[2:],
    "fill bytes without a marker": JPEG[:2] + b"\xff" * 1_000_000,
    "fill bytes before data": JPEG[:2] + b"\xff" * 1_000_000 + b"\0",
    "junk between segments": JPEG[:2] + b"\xff\x00" * 1_000_000 + JPEG[2:],
    "strips of a TIFF": tiff_of_strips(MAX_PARTS + 1),
    "strips of a big-endian TIFF": tiff_of_strips(MAX_PARTS + 1, ">"),
    "a tile of a small TIFF": tiff_of_one_tile(16, 4_112),
    "a tile of a small big-endian TIFF": tiff_of_one_tile(16, 4_112, ">"),
    "run lengths of a BMP": bmp_of_run_lengths(9_000, 9_000, b"\1\5" * 2_500_000),
    "empty rows of a BMP": bmp_of_run_lengths(9_000_000, 1, b"\0\2\0\xff\0\1"),
    "a PGM with an unusual maximum value": b"P5 3000 3000 254\n" + bytes(9_000_000),
    "a PPM of 16 bits": b"P6 # \n2000 1000 65535\n" + bytes(12_000_000),
    "EXIF of a JPEG": JPEG[:2] + (b"\xff\xe1\xff\xff" + b"Exif\0\0".ljust(65_533)) * 257 + JPEG[2:],
    "chunks of a PNG": PNG[:33] + chunk(b"tEXt", b"a\0") * (MAX_PARTS + 1) + PNG[33:],
    "comments of a GIF": GIF[:GIF_IMAGE] + b"\x21\xfe\x01x\0" * MAX_PARTS + GIF[GIF_IMAGE:],
    "comments of a PPM": b"P6\n" + b"#\n" * 1_000_000 + b"1 1\n255\nabc",
    "a comment of a PPM": b"P6\n#" + b"x" * 1_000_000 + b"\n1 1\n255\nabc",
    "a plain PPM": b"P3\n1000 1000\n255\n" + b"#\n" * 1_000_000,
}


@pytest.mark.parametrize("content", TOO_COMPLEX.values(), ids=TOO_COMPLEX)
def test_slow_to_decode_files_are_rejected_immediately(tmp_path: Path, content: bytes) -> None:
    started = time.monotonic()
    with pytest.raises(ImageError) as raised:
        decode_rgb(content, max_pixels=100_000_000)
    assert raised.value.reason == "too_complex"
    with pytest.raises(RejectedError, match="too_complex"):
        prepare_image(content, ImagePolicy(100_000_000, 10_000_000, 90))
    (tmp_path / "image").write_bytes(content)
    with pytest.raises(InputError, match="decoding might take very long"):
        load_image(tmp_path / "image")
    assert time.monotonic() - started < 1


@pytest.mark.parametrize(
    "content",
    [
        with_scans(MAX_SCANS),
        encode_noise("JPEG", progressive=True),
        # Bytes that look like scans within a segment (thumbnails, camera notes) are not scans.
        JPEG[:2] + b"\xff\xe5\xff\xff" + b"\xff\xda" * 32_766 + b"x" + JPEG[2:],
        encode_noise("JPEG", icc_profile=b"\xff\xda" * 500_000),
        JPEG + with_scans(500),  # bytes after the end are not decoded
        PNG,
        PNG + chunk(b"tEXt", b"a\0") * (MAX_PARTS + 1),
        GIF,
        encode_noise("GIF", comment=b"x" * 60_000),
        encode_noise("WEBP"),
        encode_noise("BMP"),
        encode_noise("TIFF"),
        encode_noise("PPM"),
        b"P6 # a comment\n# another\n 1 1\n255\nabc",
        b"P5 3000 3000 255\n" + bytes(9_000_000),
        b"P5 2000 2000 65535\n" + bytes(8_000_000),
        b"P6 30 30 65535\n" + bytes(5_400),
        b"P5 30 30 254\n" + bytes(900),
        tiff_of_strips(2_000),
        tiff_of_strips(2_000, ">"),
        tiff_of_one_tile(16, 256),
        tiff_of_one_tile(4_500, 4_608, ">"),
        bmp_of_run_lengths(5, 2, b"\5\1\0\0\5\2\0\1"),
        encode_noise("JPEG", progressive=True, exif=b"Exif\0\0").replace(b"\xff\xda", b"\xff\xff\xff\xda"),
    ],
    ids=range(24),
)
def test_files_of_common_encoders_are_accepted(content: bytes) -> None:
    assert complexity_violation(content) is None
    decode_rgb(content)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\xff\xd8",
        b"\xff\xd8\xff\xda",
        b"\xff\xd8\xff\xc0\0",
        PNG[:10],
        GIF[:9],
        b"P6",
        b"BM",
        b"II*\0\x08",
    ],
)
def test_truncated_files_do_not_raise(content: bytes) -> None:
    complexity_violation(content)
