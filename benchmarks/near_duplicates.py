"""How well does the perceptual hash tell copies of an image from other images, and what does the search cost?

Of pictures of the toy dataset, and of the photographs in a folder where one is given: the bits that copies
differ in, by how they were made, and the pairs of different images that are as near. Then the search among
random hashes: of 13,000 images among `--images` (14.8 million is the size of YFCC).
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
AT_ONCE = 10_000  # images of a piece, as packing compares them
LIMITS = (8, 12, 16, 20, 24, 32)


def reencoded(image: Image.Image, form: str = "JPEG", **options: int) -> Image.Image:
    content = io.BytesIO()
    image.save(content, form, **options)
    return decode_rgb(content.getvalue())


def scaled(
    image: Image.Image, factor: float, how: Image.Resampling = Image.Resampling.BICUBIC
) -> Image.Image:
    return image.resize((round(image.width * factor), round(image.height * factor)), how)


def cropped(image: Image.Image, share: float) -> Image.Image:
    x, y = round(share * image.width), round(share * image.height)
    return image.crop((x, y, image.width - x, image.height - y))


COPIES: dict[str, Callable[[Image.Image], Image.Image]] = {
    "JPEG, quality 95": lambda image: reencoded(image, quality=95),
    "JPEG, quality 75": lambda image: reencoded(image, quality=75),
    "JPEG, quality 40": lambda image: reencoded(image, quality=40),
    "WebP, quality 75": lambda image: reencoded(image, "WEBP", quality=75),
    "half the size": lambda image: scaled(image, 0.5),
    "half the size, nearest neighbor": lambda image: scaled(image, 0.5, Image.Resampling.NEAREST),
    "half the size and back": lambda image: scaled(scaled(image, 0.5), 2),
    "0.37 of the size, then JPEG 75": lambda image: reencoded(scaled(image, 0.37), quality=75),
    "1.5 times the size": lambda image: scaled(image, 1.5),
    "256 × 256 pixels": lambda image: image.resize((256, 256)),
    "gray": lambda image: image.convert("L"),
    "10% brighter": lambda image: ImageEnhance.Brightness(image).enhance(1.1),
    "20% less contrast": lambda image: ImageEnhance.Contrast(image).enhance(0.8),
    "1% cropped at each side": lambda image: cropped(image, 0.01),
    "2% cropped at each side": lambda image: cropped(image, 0.02),
    "5% cropped at each side": lambda image: cropped(image, 0.05),
    "white border of 2%": lambda image: ImageOps.expand(image, image.width // 50, "white"),
    "rotated by 1°": lambda image: image.rotate(1, Image.Resampling.BICUBIC),
    "mirrored": ImageOps.mirror,
}
Hashes = tuple[bytes | None, dict[str, bytes | None]]


def hashes_of(source: int | Path) -> Hashes:
    """Of a toy picture by its seed or of a photograph by its path, and of all copies."""
    if isinstance(source, Path):
        image = decode_rgb(source.read_bytes(), 200_000_000)
        image.thumbnail((512, 512))
    else:
        rng = random.Random(source)
        image = render(random_scene(rng), (rng.randint(120, 360), rng.randint(100, 280)), rng)
    return perceptual_hash(image), {name: perceptual_hash(copy(image)) for name, copy in COPIES.items()}


def report(title: str, sources: list[int] | list[Path]) -> None:
    with get_context("spawn").Pool(os.cpu_count()) as pool:
        found = pool.map(hashes_of, sources, chunksize=20)
    originals = [(one, copies) for one, copies in found if one]
    print(f"\n{title}: {len(found):,} images, {len(found) - len(originals):,} without a hash\n")
    print(f"| copy | median bits | 99% | most | found at {DEFAULT_DISTANCE} |\n|---|---:|---:|---:|---:|")
    for name in COPIES:
        bits = np.array(
            [
                (int.from_bytes(one) ^ int.from_bytes(copies[name] or b"")).bit_count()
                if copies[name]
                else 256
                for one, copies in originals
            ]
        )
        middle, most = np.median(bits), np.quantile(bits, 0.99)
        print(
            f"| {name} | {middle:.0f} | {most:.0f} | {bits.max()} | {np.mean(bits <= DEFAULT_DISTANCE):.2%} |"
        )
    words = hashes_to_array([one for one, _ in originals])
    near = [bits[row < other] for row, other, bits in find_near_duplicates(words, words, max(LIMITS))]
    bits = np.concatenate([np.empty(0, int), *near])
    pairs = len(words) * (len(words) - 1) // 2
    counts = ", ".join(f"{int((bits <= limit).sum())} within {limit}" for limit in LIMITS)
    print(f"\nPairs of different images: {pairs:,}; {counts}.")


def search(images: int) -> None:
    rng = np.random.default_rng(1)
    held_out = rng.integers(0, 2**64, (HELD_OUT, 4), dtype=np.uint64)
    began, found = time.process_time(), 0
    for start in range(0, images, AT_ONCE):
        words = rng.integers(0, 2**64, (min(AT_ONCE, images - start), 4), dtype=np.uint64)
        found += sum(len(row) for row, _, _ in find_near_duplicates(words, held_out, DEFAULT_DISTANCE))
    seconds = time.process_time() - began
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1000
    print(
        f"\nSearch: {images:,} × {HELD_OUT:,} random hashes in {seconds:.0f} s of a core "
        f"({seconds / images / HELD_OUT * 1e9:.2f} ns a pair), {peak:.0f} MB; {found} within {DEFAULT_DISTANCE}."
    )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--pictures", type=int, default=2000, help="of the toy dataset")
    parser.add_argument("--photographs", type=Path, help="folder of JPEG, PNG and WebP files, and below")
    parser.add_argument("--images", type=int, default=200_000, help="among which is searched")
    options = parser.parse_args()
    report("Toy dataset", list(range(options.pictures)))
    if options.photographs:
        suffixes = (".jpg", ".jpeg", ".png", ".webp")
        files = [path for path in sorted(options.photographs.rglob("*")) if path.suffix.lower() in suffixes]
        report("Photographs", [path for path in files if path.is_file()])
    search(options.images)


if __name__ == "__main__":
    main()
