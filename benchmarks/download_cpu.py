"""CPU time per downloaded image, without start-up.

More precise than download.py, because CPU time hardly depends on other load. One tar of the same images from
the same server is downloaded in this process, alternately by img2dataset's worker, bare (with its own SHA-256
of each image) and as in the package (with SSRF guard and rate limiter), and by the plain script. Reading and
hashing each tar for the ledger is measured separately.
"""

import argparse
import os
import statistics
import sys
import tempfile
import time
import urllib.request
from collections import defaultdict
from collections.abc import Callable
from multiprocessing import Pipe, Process
from pathlib import Path

import pyarrow as pa
from download import DISTINCT_IMAGES, IMAGE_OPTIONS, fetch_one, make_photo, serve

from cloob.download.fetch.completed_tars import read_completed_tars
from cloob.download.fetch.guard import Guard, install
from cloob.download.fetch.rate_limit import HostRateLimiter

# As in the package: webdataset would import torch, which takes CPU time and is not used.
sys.modules["torch"] = None  # type: ignore[assignment]
os.environ["NO_ALBUMENTATIONS_UPDATE"] = "1"
THREADS, TIMEOUT = 32, 10


def make_worker(folder: Path, urls: list[str], hash_algorithm: str | None) -> Callable[[], None]:
    """img2dataset's download of one tar."""
    from img2dataset.downloader import Downloader
    from img2dataset.resizer import Resizer
    from img2dataset.writer import WebDatasetSampleWriter

    table = pa.table({"uid": [f"{number:09d}" for number in range(len(urls))], "url": urls})
    with pa.ipc.new_file(str(folder / "0.feather"), table.schema) as file:
        file.write_table(table)
    resizer = Resizer(
        IMAGE_OPTIONS.image_size,
        "keep_ratio_largest",
        True,
        encode_quality=IMAGE_OPTIONS.quality,
        skip_reencode=True,
        min_image_size=IMAGE_OPTIONS.min_size,
        max_aspect_ratio=IMAGE_OPTIONS.max_aspect_ratio,
    )
    output = (WebDatasetSampleWriter, resizer, THREADS, False, False, str(folder), ["uid", "url"])
    options = (TIMEOUT, len(urls), 5, hash_algorithm, None, "jpg", 0, "cloob-benchmark", ["noai"])
    downloader = Downloader(*output, *options)
    return lambda: downloader.download_shard((0, str(folder / "0.feather")))


def cpu_seconds(work: Callable[[], object]) -> float:
    """CPU seconds of this process for a call."""
    start = time.process_time()
    work()
    return time.process_time() - start


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--urls", type=int, default=400, help="default: %(default)s")
    parser.add_argument("--repeats", type=int, default=7, help="default: %(default)s")
    arguments = parser.parse_args()
    os.environ["no_proxy"] = "127.0.0.1"
    pipe, server_pipe = Pipe()
    images = [make_photo(number) for number in range(DISTINCT_IMAGES)]
    Process(target=serve, args=(images, server_pipe), daemon=True).start()
    address = f"127.0.0.1:{pipe.recv()}"
    urls = [f"http://{address}/{number}.jpg" for number in range(arguments.urls)]
    seconds: dict[str, list[float]] = defaultdict(list)
    for _ in range(arguments.repeats):
        with tempfile.TemporaryDirectory() as name:
            bare, guarded, script = (Path(name) / variant for variant in ("bare", "cloob", "script"))
            for folder in (bare, guarded, script):
                folder.mkdir()
            urllib.request.install_opener(urllib.request.build_opener())
            seconds["bare img2dataset"].append(cpu_seconds(make_worker(bare, urls, "sha256")))
            limits = Path(name) / "limits"
            HostRateLimiter.create_file(limits)
            install(Guard((address,), 50_000_000, 100_000_000, 60), HostRateLimiter(limits, 1e6))
            download = cpu_seconds(make_worker(guarded, urls, None))
            ledger = cpu_seconds(lambda folder=guarded: read_completed_tars(folder, {}))
            seconds["ours, ledger only"].append(ledger)
            seconds["ours"].append(download + ledger)
            tasks = [(url, str(number), script) for number, url in enumerate(urls)]
            seconds["plain script"].append(cpu_seconds(lambda tasks=tasks: [*map(fetch_one, tasks)]))
    per_image = {
        variant: 1000 * statistics.median(times) / arguments.urls for variant, times in seconds.items()
    }
    print("| variant | CPU ms per image | × bare |\n|---|---|---|")
    for variant in ("ours", "ours, ledger only", "bare img2dataset", "plain script"):
        ratio = per_image["bare img2dataset"] / per_image[variant]
        print(f"| {variant} | {per_image[variant]:.2f} | {ratio:.2f} |")


if __name__ == "__main__":
    main()
