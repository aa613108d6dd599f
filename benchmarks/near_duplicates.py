"""Separation of near-duplicates from other images by the perceptual hash, and the speed of the search.

For images of the toy dataset, and optionally for photographs in a folder: the number of differing bits of
transformed copies, and the number of pairs of different images within the same distances. Then a search with
random hashes: 13,000 images among `--images` (YFCC15M has 14.8 million).
"""

import argparse
import io
import os
import random
import resource
import time
from collections.abc import Callable
from multiprocessing import get_context
from pathlib import Path

import numpy as np
from PIL import Image, ImageEnhance, ImageOps

from cloob.images.decoding import decode_rgb
from cloob.images.near_duplicates import (
    DEFAULT_DISTANCE,
    find_near_duplicates,
    hashes_to_array,
    perceptual_hash,
)
from cloob.toy_data.render import render
from cloob.toy_data.scene import random_scene

HELD_OUT = 13_000
CHUNK_SIZE = 10_000  # images that are compared at once, as in packing
LIMITS = (8, 12, 16, 20, 24, 32)


def reencode(image: Image.Image, form: str = "JPEG", **options: int) -> Image.Image:
    content = io.BytesIO()
    image.save(content, form, **options)
    return decode_rgb(content.getvalue())


def scale(
    image: Image.Image, factor: float, filter: Image.Resampling = Image.Resampling.BICUBIC
) -> Image.Image:
    return image.resize((round(image.width * factor), round(image.height * factor)), filter)


def crop(image: Image.Image, fraction: float) -> Image.Image:
    x, y = round(fraction * image.width), round(fraction * image.height)
    return image.crop((x, y, image.width - x, image.height - y))


COPIES: dict[str, Callable[[Image.Image], Image.Image]] = {
    "JPEG, quality 95": lambda image: reencode(image, quality=95),
    "JPEG, quality 75": lambda image: reencode(image, quality=75),
    "JPEG, quality 40": lambda image: reencode(image, quality=40),
    "WebP, quality 75": lambda image: reencode(image, "WEBP", quality=75),
    "half the size": lambda image: scale(image, 0.5),
    "half the size, nearest neighbor": lambda image: scale(image, 0.5, Image.Resampling.NEAREST),
    "half the size and back": lambda image: scale(scale(image, 0.5), 2),
    "0.37 of the size, then JPEG 75": lambda image: reencode(scale(image, 0.37), quality=75),
    "1.5 times the size": lambda image: scale(image, 1.5),
    "256 × 256 pixels": lambda image: image.resize((256, 256)),
    "gray": lambda image: image.convert("L"),
    "10% brighter": lambda image: ImageEnhance.Brightness(image).enhance(1.1),
    "20% less contrast": lambda image: ImageEnhance.Contrast(image).enhance(0.8),
    "1% cropped at each side": lambda image: crop(image, 0.01),
    "2% cropped at each side": lambda image: crop(image, 0.02),
    "5% cropped at each side": lambda image: crop(image, 0.05),
    "white border of 2%": lambda image: ImageOps.expand(image, image.width // 50, "white"),
    "rotated by 1°": lambda image: image.rotate(1, Image.Resampling.BICUBIC),
    "mirrored": ImageOps.mirror,
}
Hashes = tuple[bytes | None, dict[str, bytes | None]]


def compute_hashes(source: int | Path) -> Hashes:
    """The hashes of an image, a toy image by its seed or a photograph by its path, and of its copies."""
    if isinstance(source, Path):
        image = decode_rgb(source.read_bytes(), 200_000_000)
        image.thumbnail((512, 512))
    else:
        rng = random.Random(source)
        image = render(random_scene(rng), (rng.randint(120, 360), rng.randint(100, 280)), rng)
    return perceptual_hash(image), {name: perceptual_hash(copy(image)) for name, copy in COPIES.items()}


def report(title: str, sources: list[int] | list[Path]) -> None:
    with get_context("spawn").Pool(os.cpu_count()) as pool:
        hashes = pool.map(compute_hashes, sources, chunksize=20)
    with_hash = [(original, copies) for original, copies in hashes if original]
    print(f"\n{title}: {len(hashes):,} images, {len(hashes) - len(with_hash):,} without a hash\n")
    print(f"| copy | median bits | 99% | max | detected at {DEFAULT_DISTANCE} |\n|---|---:|---:|---:|---:|")
    for name in COPIES:
        bits = np.array(
            [
                (int.from_bytes(original) ^ int.from_bytes(copies[name] or b"")).bit_count()
                if copies[name]
                else 256
                for original, copies in with_hash
            ]
        )
        median, quantile = np.median(bits), np.quantile(bits, 0.99)
        recall = np.mean(bits <= DEFAULT_DISTANCE)
        print(f"| {name} | {median:.0f} | {quantile:.0f} | {bits.max()} | {recall:.2%} |")
    originals = hashes_to_array([original for original, _ in with_hash])
    matches = find_near_duplicates(originals, originals, max(LIMITS))
    near = [bits[row < other] for row, other, bits in matches]
    bits = np.concatenate([np.empty(0, int), *near])
    pairs = len(originals) * (len(originals) - 1) // 2
    counts = ", ".join(f"{int((bits <= limit).sum())} within {limit}" for limit in LIMITS)
    print(f"\nPairs of different images: {pairs:,}; {counts}.")


def search(images: int) -> None:
    rng = np.random.default_rng(1)
    held_out = rng.integers(0, 2**64, (HELD_OUT, 4), dtype=np.uint64)
    cpu_start, num_matches = time.process_time(), 0
    for start in range(0, images, CHUNK_SIZE):
        hashes = rng.integers(0, 2**64, (min(CHUNK_SIZE, images - start), 4), dtype=np.uint64)
        num_matches += sum(len(row) for row, _, _ in find_near_duplicates(hashes, held_out, DEFAULT_DISTANCE))
    seconds = time.process_time() - cpu_start
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1000
    print(
        f"\nSearch: {images:,} × {HELD_OUT:,} random hashes in {seconds:.0f} CPU seconds "
        f"({seconds / images / HELD_OUT * 1e9:.2f} ns per pair), {peak:.0f} MB; "
        f"{num_matches} within {DEFAULT_DISTANCE}."
    )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--toy-images", type=int, default=2000, help="number of toy images")
    parser.add_argument(
        "--photographs", type=Path, help="folder of JPEG, PNG and WebP files, with subfolders"
    )
    parser.add_argument("--images", type=int, default=200_000, help="number of random hashes to search")
    options = parser.parse_args()
    report("Toy dataset", list(range(options.toy_images)))
    if options.photographs:
        suffixes = (".jpg", ".jpeg", ".png", ".webp")
        files = [path for path in sorted(options.photographs.rglob("*")) if path.suffix.lower() in suffixes]
        report("Photographs", [path for path in files if path.is_file()])
    search(options.images)


if __name__ == "__main__":
    main()
