"""How fast are images packed, and how near to the floor?

`cloob shards pack` and `verify` on a download of ledgers and tars; and the floor: decoding the same images in
full, from memory, and nothing else. In turns. Images of 500 × 375 as in loader.py. On a machine that others
use as well, the CPU time counts.
"""

import argparse
import io
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from multiprocessing import get_context
from pathlib import Path

import numpy as np
from loader import photo
from PIL import Image

from cloob.shards.from_download import download_source
from cloob.shards.pack import PackOptions, pack
from cloob.shards.training_image import ImagePolicy
from cloob.shards.verify import verify

sys.path.insert(0, str(Path(__file__).parents[1]))
from tests.helpers.downloaded_parts import write_download

RULES = ImagePolicy(max_bytes=50_000_000, max_pixels=100_000_000, quality=95)
DISTINCT = 200  # photos that take turns, each with a tail of its own
IMAGES: list[bytes] = []


def photos(number: int) -> list[bytes]:
    """So many JPEGs, no two alike."""
    generator = np.random.default_rng(0)
    distinct = [photo(generator) for _ in range(min(number, DISTINCT))]
    return [distinct[i % len(distinct)] + i.to_bytes(4, "big") for i in range(number)]


def decode(share: slice) -> None:
    """The floor, for a share of the images."""
    for content in IMAGES[share]:
        with Image.open(io.BytesIO(content)) as image:
            image.load()


def decode_all(processes: int) -> None:
    """The floor, by so many processes, which inherit the images."""
    with get_context("fork").Pool(processes) as pool:
        pool.map(decode, [slice(start, None, processes) for start in range(processes)], chunksize=1)


def seconds_of(work: Callable[..., object], *arguments: object) -> tuple[float, float]:
    """How long it takes, and what the processes compute in that time."""
    begun, used = time.perf_counter(), sum(os.times()[:4])
    work(*arguments)
    return time.perf_counter() - begun, sum(os.times()[:4]) - used


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--images", type=int, default=4000, help="images in the download")
    parser.add_argument("--repeats", type=int, default=3, help="turns, of which the median counts")
    parser.add_argument("--processes", type=int, nargs="*", default=[1, 2], help="decoding processes")
    options = parser.parse_args()
    IMAGES.extend(photos(options.images))
    with tempfile.TemporaryDirectory() as folder:
        parts = write_download(
            Path(folder, "download"), [(f"a photo of {i}", one) for i, one in enumerate(IMAGES)], parts=8
        )
        size = statistics.mean(map(len, IMAGES)) / 1000
        print(f"{len(IMAGES)} images of {size:.0f} KB, Pillow {Image.__version__}\n")
        print("| processes | what | images/s | CPU ms an image | floor's CPU / its |\n|---|---|---|---|---|")
        for processes in options.processes:
            measure(Path(folder), parts, processes, options.repeats)


def measure(folder: Path, parts: tuple[list[Path], Path], processes: int, repeats: int) -> None:
    """Print the rows of so many processes."""
    packing, source = PackOptions(samples_per_shard=500, seed=1, rules=RULES), download_source(*parts)
    found: dict[str, list[tuple[float, float]]] = {"floor: decoding only": [], "pack": [], "verify": []}
    for turn in range(repeats):
        out = folder / f"shards_{processes}_{turn}"
        outcomes = out / "outcomes.csv"
        found["floor: decoding only"].append(seconds_of(decode_all, processes))
        found["pack"].append(seconds_of(pack, source, out, outcomes, packing, processes))
        found["verify"].append(seconds_of(verify, out / "shards.json", outcomes, processes))
    floor = statistics.median(used for _, used in found["floor: decoding only"])
    for what, times in found.items():
        seconds, used = (statistics.median(each) for each in zip(*times, strict=True))
        print(
            f"| {processes} | {what} | {len(IMAGES) / seconds:.0f} | {1000 * used / len(IMAGES):.2f} "
            f"| {floor / used:.2f} |"
        )


if __name__ == "__main__":
    main()
