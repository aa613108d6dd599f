"""Every form of image: kept as it is, made readable, or refused with its reason."""

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
from tests.helpers.sample_images import animated, bomb, encoded, jpeg, noise, sixteen_bits, turned

RULES = ImagePolicy(max_bytes=1_000_000, max_pixels=100_000, quality=95)


def as_training_sees(content: bytes) -> np.ndarray:
    pixels = decode_jpeg(torch.frombuffer(bytearray(content), dtype=torch.uint8), mode=ImageReadMode.RGB)
    return pixels.permute(1, 2, 0).numpy()


def pixels(image: Image.Image) -> np.ndarray:
    return np.asarray(image.convert("RGB"))


def near(one: np.ndarray, other: np.ndarray) -> bool:
    """As near as two JPEGs of one picture."""
    difference = np.abs(one.astype(int) - other.astype(int))
    return one.shape == other.shape and difference.mean() < 10


@pytest.mark.parametrize(
    "content",
    [
        jpeg(1),
        jpeg(1, mode="L"),
        encoded(noise(1), progressive=True),
        encoded(noise(1), "MPO", save_all=True, append_images=[noise(2)]),
        jpeg(1) + b"trailing rubbish",
        turned(1, 1)[0],
        turned(1, 0)[0],
        turned(1, 9)[0],
    ],
    ids=["rgb", "grey", "progressive", "mpo", "trailing", "upright", "orientation 0", "orientation 9"],
)
def test_an_upright_jpeg_keeps_its_bytes(content: bytes) -> None:
    image = prepare_image(content, RULES)
    assert (image.content, image.reencoded, image.width, image.height) == (content, False, 48, 32)
    assert as_training_sees(content).shape == (32, 48, 3)


@pytest.mark.parametrize("orientation", range(2, 9))
def test_exif_orientation_is_applied(orientation: int) -> None:
    stored, seen = turned(1, orientation)
    image = prepare_image(stored, RULES)
    assert image.reencoded and (image.width, image.height) == seen.size
    assert near(as_training_sees(image.content), pixels(seen))
    assert prepare_image(image.content, RULES).content == image.content  # once is enough


def test_malformed_exif_says_nothing() -> None:
    stored = encoded(noise(1), exif=b"Exif\x00\x00MM\x00*\x00\x00\x00\x08\xff\xff\x01\x12")
    assert prepare_image(stored, RULES).content == stored


@pytest.mark.parametrize(
    ("content", "seen"),
    [
        (encoded(noise(1, mode="CMYK")), noise(1, mode="CMYK")),
        (encoded(noise(1), "PNG"), noise(1)),
        (encoded(noise(1, mode="L"), "PNG"), noise(1, mode="L")),
        (encoded(noise(1).quantize(64), "PNG"), noise(1).quantize(64)),
        (encoded(noise(1), "WEBP", lossless=True), noise(1)),
        (encoded(noise(1), "BMP"), noise(1)),
        (encoded(noise(1), "TIFF"), noise(1)),
        (animated(1, "PNG"), noise(1)),
        (animated(1, "WEBP"), noise(1)),
        (animated(1, "GIF"), noise(1)),
    ],
    ids=[
        "cmyk",
        "png",
        "grey-png",
        "palette",
        "webp",
        "bmp",
        "tiff",
        "animated-png",
        "animated-webp",
        "animated-gif",
    ],
)
def test_what_training_cannot_read_is_encoded_again(content: bytes, seen: Image.Image) -> None:
    image = prepare_image(content, RULES)
    assert image.reencoded and (image.width, image.height) == (48, 32)
    assert near(as_training_sees(image.content), pixels(seen))


def test_sixteen_bits_become_eight() -> None:
    content, grey = sixteen_bits(1)
    assert near(as_training_sees(prepare_image(content, RULES).content)[..., 0], grey)


def test_what_is_transparent_becomes_white() -> None:
    clear = noise(1, mode="RGBA")
    clear.putalpha(0)
    assert as_training_sees(prepare_image(encoded(clear, "PNG"), RULES).content).min() > 250


def test_the_same_image_is_encoded_to_the_same_bytes() -> None:
    content = encoded(noise(1), "PNG")
    assert prepare_image(content, RULES) == prepare_image(content, RULES)


@pytest.mark.parametrize(
    ("content", "outcome"),
    [
        (b"", "not_an_image"),
        (b"<!DOCTYPE html><title>404</title>", "not_an_image"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\nshowpage\n", "not_an_image"),
        (jpeg(1)[:20] + b"\xff\xd9", "not_an_image"),
        (jpeg(1)[:-300], "truncated_image"),
        (encoded(noise(1), "PNG")[:-300], "truncated_image"),
        (b"\x89PNG\r\n\x1a\n", "not_an_image"),
        (encoded(noise(1), "PNG")[:60] + bytes(600), "undecodable"),
        (jpeg(1) + bytes(1_000_000), "too_many_bytes"),
        (jpeg(1, width=400, height=300), "too_many_pixels"),
    ],
    ids=[
        "empty",
        "html",
        "eps",
        "headless",
        "truncated",
        "truncated-png",
        "pngless",
        "rotten",
        "bytes",
        "pixels",
    ],
)
def test_what_is_no_image_is_refused_with_its_reason(content: bytes, outcome: str) -> None:
    with pytest.raises(RejectedError) as refusal:
        prepare_image(content, RULES)
    assert str(refusal.value) == outcome


def test_a_bomb_is_refused_before_it_is_decoded() -> None:
    program = (
        "import sys, resource\n"
        "from cloob.shards.training_image import ImagePolicy, prepare_image\n"
        "from cloob.common.accounting import RejectedError\n"
        "content = sys.stdin.buffer.read()\n"
        "before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
        "try:\n    prepare_image(content, ImagePolicy(50_000_000, 100_000_000, 95))\n"
        "except RejectedError as refusal:\n    print(refusal)\n"
        "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)\n"
    )
    content = bomb()
    assert len(content) < 1_000_000
    done = subprocess.run([sys.executable, "-c", program], input=content, capture_output=True, check=True)
    outcome, kilobytes = done.stdout.split()
    assert outcome == b"too_many_pixels" and int(kilobytes) < 20_000


@pytest.mark.parametrize(
    ("written", "read"),
    [
        ("a dog", "a dog"),
        ("  a\tdog \n ran\x00off ", "a dog ran off"),
        ("Cafe\u0301", "Café"),
        ("a\u2028b\u00a0c\u3000d", "a b c d"),
        ("👩\u200d🚒 at work", "👩\u200d🚒 at work"),
        ("\x00\x1f \u00a0", ""),
    ],
)
def test_captions_are_one_line_of_composed_characters(written: str, read: str) -> None:
    assert normalize_caption(written) == read
    assert normalize_caption(read) == read
