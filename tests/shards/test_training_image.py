"""Validation of training images of every format: kept unchanged, re-encoded, or rejected with an outcome."""

import subprocess
import sys

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision.io import ImageReadMode, decode_jpeg

from cloob.common.accounting import RejectedError
from cloob.shards.captions import normalize_caption
from cloob.shards.training_image import ImagePolicy, prepare_image
from tests.helpers.peak_memory import PEAK_KILOBYTES
from tests.helpers.sample_images import (
    animated_image,
    decompression_bomb,
    encode_image,
    jpeg,
    noise_image,
    rotated_jpeg,
    sixteen_bit_png,
)

POLICY = ImagePolicy(max_bytes=1_000_000, max_pixels=100_000, quality=95)


def decode_for_training(content: bytes) -> np.ndarray:
    pixels = decode_jpeg(torch.frombuffer(bytearray(content), dtype=torch.uint8), mode=ImageReadMode.RGB)
    return pixels.permute(1, 2, 0).numpy()


def pixels(image: Image.Image) -> np.ndarray:
    return np.asarray(image.convert("RGB"))


def is_close(a: np.ndarray, b: np.ndarray) -> bool:
    """Whether two arrays differ no more than two JPEGs of the same image."""
    difference = np.abs(a.astype(int) - b.astype(int))
    return a.shape == b.shape and difference.mean() < 10


@pytest.mark.parametrize(
    "content",
    [
        jpeg(1),
        jpeg(1, mode="L"),
        encode_image(noise_image(1), progressive=True),
        encode_image(noise_image(1), "MPO", save_all=True, append_images=[noise_image(2)]),
        jpeg(1) + b"trailing data",
        rotated_jpeg(1, 1)[0],
        rotated_jpeg(1, 0)[0],
        rotated_jpeg(1, 9)[0],
    ],
    ids=["rgb", "gray", "progressive", "mpo", "trailing", "upright", "orientation 0", "orientation 9"],
)
def test_upright_jpeg_keeps_its_bytes(content: bytes) -> None:
    image = prepare_image(content, POLICY)
    assert (image.content, image.reencoded, image.width, image.height) == (content, False, 48, 32)
    assert decode_for_training(content).shape == (32, 48, 3)


@pytest.mark.parametrize("orientation", range(2, 9))
def test_exif_orientation_is_applied(orientation: int) -> None:
    stored, upright = rotated_jpeg(1, orientation)
    image = prepare_image(stored, POLICY)
    assert image.reencoded and (image.width, image.height) == upright.size
    assert is_close(decode_for_training(image.content), pixels(upright))
    assert prepare_image(image.content, POLICY).content == image.content  # idempotent


def test_malformed_exif_is_ignored() -> None:
    stored = encode_image(noise_image(1), exif=b"Exif\x00\x00MM\x00*\x00\x00\x00\x08\xff\xff\x01\x12")
    assert prepare_image(stored, POLICY).content == stored


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (encode_image(noise_image(1, mode="CMYK")), noise_image(1, mode="CMYK")),
        (encode_image(noise_image(1), "PNG"), noise_image(1)),
        (encode_image(noise_image(1, mode="L"), "PNG"), noise_image(1, mode="L")),
        (encode_image(noise_image(1).quantize(64), "PNG"), noise_image(1).quantize(64)),
        (encode_image(noise_image(1), "WEBP", lossless=True), noise_image(1)),
        (encode_image(noise_image(1), "BMP"), noise_image(1)),
        (encode_image(noise_image(1), "TIFF"), noise_image(1)),
        (animated_image(1, "PNG"), noise_image(1)),
        (animated_image(1, "WEBP"), noise_image(1)),
        (animated_image(1, "GIF"), noise_image(1)),
    ],
    ids=[
        "cmyk",
        "png",
        "gray-png",
        "palette",
        "webp",
        "bmp",
        "tiff",
        "animated-png",
        "animated-webp",
        "animated-gif",
    ],
)
def test_other_formats_are_reencoded_as_rgb_jpeg(content: bytes, expected: Image.Image) -> None:
    image = prepare_image(content, POLICY)
    assert image.reencoded and (image.width, image.height) == (48, 32)
    assert is_close(decode_for_training(image.content), pixels(expected))


def test_sixteen_bit_images_are_converted_to_eight_bits() -> None:
    content, gray = sixteen_bit_png(1)
    assert is_close(decode_for_training(prepare_image(content, POLICY).content)[..., 0], gray)


def test_transparent_pixels_become_white() -> None:
    transparent = noise_image(1, mode="RGBA")
    transparent.putalpha(0)
    assert decode_for_training(prepare_image(encode_image(transparent, "PNG"), POLICY).content).min() > 250


def test_reencoding_is_deterministic() -> None:
    content = encode_image(noise_image(1), "PNG")
    assert prepare_image(content, POLICY) == prepare_image(content, POLICY)


@pytest.mark.parametrize(
    ("content", "outcome"),
    [
        (b"", "not_an_image"),
        (b"<!DOCTYPE html><title>404</title>", "not_an_image"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\nshowpage\n", "not_an_image"),
        (jpeg(1)[:20] + b"\xff\xd9", "not_an_image"),
        (jpeg(1)[:-300], "truncated_image"),
        (encode_image(noise_image(1), "PNG")[:-300], "truncated_image"),
        (b"\x89PNG\r\n\x1a\n", "not_an_image"),
        (encode_image(noise_image(1), "PNG")[:60] + bytes(600), "undecodable"),
        (jpeg(1) + bytes(1_000_000), "too_many_bytes"),
        (jpeg(1, width=400, height=300), "too_many_pixels"),
    ],
    ids=[
        "empty",
        "html",
        "eps",
        "no header",
        "truncated",
        "truncated-png",
        "png signature only",
        "corrupt",
        "bytes",
        "pixels",
    ],
)
def test_invalid_image_is_rejected_with_its_outcome(content: bytes, outcome: str) -> None:
    with pytest.raises(RejectedError) as raised:
        prepare_image(content, POLICY)
    assert str(raised.value) == outcome


def test_decompression_bomb_is_rejected_before_it_is_decoded() -> None:
    program = (
        "import sys\n"
        "from cloob.shards.training_image import ImagePolicy, prepare_image\n"
        "from cloob.common.accounting import RejectedError\n"
        "content = sys.stdin.buffer.read()\n"
        "before = peak_kilobytes()\n"
        "try:\n    prepare_image(content, ImagePolicy(50_000_000, 100_000_000, 95))\n"
        "except RejectedError as rejection:\n    print(rejection)\n"
        "print(peak_kilobytes() - before)\n"
    )
    content = decompression_bomb()
    assert len(content) < 1_000_000
    process = subprocess.run(
        [sys.executable, "-c", PEAK_KILOBYTES + program], input=content, capture_output=True, check=True
    )
    outcome, kilobytes = process.stdout.split()
    assert outcome == b"too_many_pixels" and int(kilobytes) < 20_000


@pytest.mark.parametrize(
    ("caption", "normalized"),
    [
        ("a dog", "a dog"),
        ("  a\tdog \n ran\x00off ", "a dog ran off"),
        ("Cafe\u0301", "Café"),
        ("a\u2028b\u00a0c\u3000d", "a b c d"),
        ("👩\u200d🚒 at work", "👩\u200d🚒 at work"),
        ("\x00\x1f \u00a0", ""),
    ],
)
def test_captions_are_normalized_to_one_line_in_nfc(caption: str, normalized: str) -> None:
    assert normalize_caption(caption) == normalized
    assert normalize_caption(normalized) == normalized
