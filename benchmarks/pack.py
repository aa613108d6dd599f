"""Packing throughput, compared with the floor of decoding only.

Times `cloob shards pack` and `verify` on a download of ledgers and tars, alternating with the floor: decoding
the same images in full from memory. Images have 500 × 375 pixels, as in loader.py. On a shared machine,
compare CPU time.
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

POLICY = ImagePolicy(max_bytes=50_000_000, max_pixels=100_000_000, quality=95)
DISTINCT = 200  # different photos; repetitions differ in trailing bytes
IMAGES: list[bytes] = []


def photos(number: int) -> list[bytes]:
    """Distinct JPEGs."""
    generator = np.random.default_rng(0)
    distinct = [photo(generator) for _ in range(min(number, DISTINCT))]
    return [distinct[i % len(distinct)] + i.to_bytes(4, "big") for i in range(number)]


def decode(share: slice) -> None:
    """Decode a share of the images."""
    for content in IMAGES[share]:
        with Image.open(io.BytesIO(content)) as image:
            image.load()


def decode_all(processes: int) -> None:
    """Decode all images in several processes, which inherit the images."""
    with get_context("fork").Pool(processes) as pool:
        pool.map(decode, [slice(start, None, processes) for start in range(processes)], chunksize=1)


def run_timed(function: Callable[..., object], *arguments: object) -> tuple[float, float]:
    """Wall time and CPU time, child processes included, in seconds."""
    start, cpu_start = time.perf_counter(), sum(os.times()[:4])
    function(*arguments)
    return time.perf_counter() - start, sum(os.times()[:4]) - cpu_start


def main() -> None:
    """Print a Markdown table of the timings."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--images", type=int, default=4000, help="images in the download")
    parser.add_argument("--repeats", type=int, default=3, help="repetitions; the median is reported")
    parser.add_argument(
        "--processes", type=int, nargs="*", default=[1, 2], help="numbers of worker processes"
    )
    options = parser.parse_args()
    IMAGES.extend(photos(options.images))
    with tempfile.TemporaryDirectory() as folder:
        parts = write_download(
            Path(folder, "download"), [(f"a photo of {i}", image) for i, image in enumerate(IMAGES)], parts=8
        )
        size = statistics.mean(map(len, IMAGES)) / 1000
        print(f"{len(IMAGES)} images of {size:.0f} KB, Pillow {Image.__version__}\n")
        print("| processes | variant | images/s | CPU ms per image | CPU of the floor ÷ variant |")
        print("|---|---|---|---|---|")
        for processes in options.processes:
            measure(Path(folder), parts, processes, options.repeats)


def measure(folder: Path, parts: tuple[list[Path], Path], processes: int, repeats: int) -> None:
    """Print the rows for a number of processes."""
    pack_options = PackOptions(samples_per_shard=500, seed=1, policy=POLICY)
    source = download_source(*parts)
    timings: dict[str, list[tuple[float, float]]] = {"floor: decoding only": [], "pack": [], "verify": []}
    for repetition in range(repeats):
        out = folder / f"shards_{processes}_{repetition}"
        outcomes = out / "outcomes.csv"
        timings["floor: decoding only"].append(run_timed(decode_all, processes))
        timings["pack"].append(run_timed(pack, source, out, outcomes, pack_options, processes))
        timings["verify"].append(run_timed(verify, out / "shards.json", outcomes, processes))
    decoding_cpu = statistics.median(cpu for _, cpu in timings["floor: decoding only"])
    for task, times in timings.items():
        seconds, cpu = (statistics.median(column) for column in zip(*times, strict=True))
        print(
            f"| {processes} | {task} | {len(IMAGES) / seconds:.0f} | {1000 * cpu / len(IMAGES):.2f} "
            f"| {decoding_cpu / cpu:.2f} |"
        )


if __name__ == "__main__":
    main()
