"""The perceptual hash: close for near-duplicates, distant for other images, none without structure."""

import subprocess
import sys

import numpy as np
import pytest
from PIL import Image, ImageOps

from cloob.images.near_duplicates import (
    DEFAULT_DISTANCE,
    find_near_duplicates,
    hashes_to_array,
    perceptual_hash,
)
from tests.helpers.sample_images import encode_image
from tests.helpers.scene_images import COPIES, decode_image, scene_image

SCENES = 100


def distance(first: bytes, second: bytes) -> int:
    return (int.from_bytes(first) ^ int.from_bytes(second)).bit_count()


def hash_of(image: Image.Image) -> bytes:
    phash = perceptual_hash(image)
    assert phash is not None and len(phash) == 32
    return phash


@pytest.mark.parametrize("copy", COPIES)
def test_near_duplicate_is_within_the_default_distance(copy: str) -> None:
    bits = [
        distance(hash_of(scene_image(seed)), hash_of(decode_image(COPIES[copy](scene_image(seed)))))
        for seed in range(SCENES)
    ]
    assert max(bits) <= DEFAULT_DISTANCE
    assert np.median(bits) <= DEFAULT_DISTANCE / 3


def test_different_images_are_beyond_the_default_distance() -> None:
    hashes = hashes_to_array([hash_of(scene_image(seed)) for seed in range(SCENES)])
    pairs = [
        pair
        for block in find_near_duplicates(hashes, hashes, DEFAULT_DISTANCE)
        for pair in zip(*block, strict=True)
    ]
    assert [(row, other) for row, other, _ in pairs if row < other] == []


def test_mirrored_image_has_a_distant_hash() -> None:
    for seed in range(20):
        mirrored = ImageOps.mirror(scene_image(seed))
        assert distance(hash_of(scene_image(seed)), hash_of(mirrored)) > DEFAULT_DISTANCE


GRADIENT = Image.linear_gradient("L").resize((120, 90))


@pytest.mark.parametrize(
    "image",
    [
        Image.new("RGB", (300, 200), "white"),
        Image.new("RGB", (300, 200), (12, 99, 200)),
        Image.new("L", (1, 1)),
        decode_image(encode_image(Image.new("RGB", (300, 200), (201, 77, 3)), quality=40)),
        Image.effect_noise((256, 256), 1.0),
        GRADIENT,
        decode_image(encode_image(GRADIENT.rotate(90, expand=True), quality=75)),
    ],
    ids=["white", "blue", "one pixel", "after JPEG", "faint noise", "gradient", "gradient after JPEG"],
)
def test_image_without_structure_has_no_hash(image: Image.Image) -> None:
    assert perceptual_hash(image) is None


def test_line_drawings_have_distinct_hashes() -> None:
    page = Image.new("RGB", (400, 300), "white")
    page.paste("black", (180, 40, 190, 260))
    page.paste("black", (100, 120, 300, 128))
    other = Image.new("RGB", (400, 300), "white")
    other.paste("black", (60, 200, 340, 212))
    other.paste("black", (300, 20, 312, 90))
    assert distance(hash_of(page), hash_of(decode_image(encode_image(page, quality=75)))) <= DEFAULT_DISTANCE
    assert distance(hash_of(page), hash_of(other)) > DEFAULT_DISTANCE


def test_hash_ignores_color() -> None:
    gray = scene_image(3).convert("L")
    assert hash_of(gray) == hash_of(gray.convert("RGB"))


def test_hash_does_not_depend_on_process_or_threads() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (60, 80), dtype=np.uint8)
    code = (
        "import numpy as np; from PIL import Image; from cloob.images.near_duplicates import perceptual_hash;"
        "pixels = np.random.default_rng(0).integers(0, 256, (60, 80), dtype=np.uint8);"
        "print(perceptual_hash(Image.fromarray(pixels)).hex())"
    )
    for threads in ("1", "7"):
        process = subprocess.run(
            [sys.executable, "-c", code],
            env={"PYTHONHASHSEED": threads, "OMP_NUM_THREADS": threads, "OPENBLAS_NUM_THREADS": threads},
            capture_output=True,
            text=True,
            check=True,
        )
        assert process.stdout.strip() == hash_of(Image.fromarray(pixels)).hex()


def test_hash_values_are_stable_across_versions() -> None:
    """A change of the hash invalidates existing indexes: it requires a new column name."""
    rows, columns = np.mgrid[0:90, 0:120]
    pixels = ((rows * 7 + columns * 3) % 256 ^ (columns * rows // 50) % 256).astype(np.uint8)
    assert hash_of(Image.fromarray(pixels)).hex() == EXPECTED_HEX


EXPECTED_HEX = "06b1696e84cd692a4aef1bfe700dad555a0d317a03fdbf2072e555aa4437106e"
