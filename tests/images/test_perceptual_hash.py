"""The perceptual hash: nearly the same for copies, another for other images, none without structure."""

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


def differing(one: bytes, two: bytes) -> int:
    return (int.from_bytes(one) ^ int.from_bytes(two)).bit_count()


def hash_of(image: Image.Image) -> bytes:
    found = perceptual_hash(image)
    assert found is not None and len(found) == 32
    return found


@pytest.mark.parametrize("copy", COPIES)
def test_a_copy_of_an_image_is_near_to_it(copy: str) -> None:
    bits = [
        differing(hash_of(scene_image(seed)), hash_of(decode_image(COPIES[copy](scene_image(seed)))))
        for seed in range(SCENES)
    ]
    assert max(bits) <= DEFAULT_DISTANCE
    assert np.median(bits) <= DEFAULT_DISTANCE / 3


def test_different_images_are_not_near() -> None:
    words = hashes_to_array([hash_of(scene_image(seed)) for seed in range(SCENES)])
    pairs = [
        pair
        for found in find_near_duplicates(words, words, DEFAULT_DISTANCE)
        for pair in zip(*found, strict=True)
    ]
    assert [(row, other) for row, other, _ in pairs if row < other] == []


def test_a_mirrored_image_is_another_one() -> None:
    for seed in range(20):
        mirrored = ImageOps.mirror(scene_image(seed))
        assert differing(hash_of(scene_image(seed)), hash_of(mirrored)) > DEFAULT_DISTANCE


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
def test_an_image_without_structure_has_no_hash(image: Image.Image) -> None:
    assert perceptual_hash(image) is None


def test_a_few_strokes_on_white_are_structure() -> None:
    page = Image.new("RGB", (400, 300), "white")
    page.paste("black", (180, 40, 190, 260))
    page.paste("black", (100, 120, 300, 128))
    other = Image.new("RGB", (400, 300), "white")
    other.paste("black", (60, 200, 340, 212))
    other.paste("black", (300, 20, 312, 90))
    assert differing(hash_of(page), hash_of(decode_image(encode_image(page, quality=75)))) <= DEFAULT_DISTANCE
    assert differing(hash_of(page), hash_of(other)) > DEFAULT_DISTANCE


def test_gray_and_color_images_of_the_same_brightness_have_the_same_hash() -> None:
    gray = scene_image(3).convert("L")
    assert hash_of(gray) == hash_of(gray.convert("RGB"))


def test_the_hash_is_the_same_in_every_process_and_whatever_its_threads() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (60, 80), dtype=np.uint8)
    code = (
        "import numpy as np; from PIL import Image; from cloob.images.near_duplicates import perceptual_hash;"
        "pixels = np.random.default_rng(0).integers(0, 256, (60, 80), dtype=np.uint8);"
        "print(perceptual_hash(Image.fromarray(pixels)).hex())"
    )
    for threads in ("1", "7"):
        done = subprocess.run(
            [sys.executable, "-c", code],
            env={"PYTHONHASHSEED": threads, "OMP_NUM_THREADS": threads, "OPENBLAS_NUM_THREADS": threads},
            capture_output=True,
            text=True,
            check=True,
        )
        assert done.stdout.strip() == hash_of(Image.fromarray(pixels)).hex()


def test_the_hash_of_a_picture_is_what_it_was() -> None:
    """A change of the hash makes indexes that exist worthless: it needs a new name of the column."""
    rows, columns = np.mgrid[0:90, 0:120]
    pixels = ((rows * 7 + columns * 3) % 256 ^ (columns * rows // 50) % 256).astype(np.uint8)
    assert hash_of(Image.fromarray(pixels)).hex() == KNOWN


KNOWN = "06b1696e84cd692a4aef1bfe700dad555a0d317a03fdbf2072e555aa4437106e"
