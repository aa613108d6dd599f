"""How much CPU time does a downloaded image cost, without any start?

The question of download.py, told more exactly, because CPU time depends little on what else the machine does.
One tar of the same images from the same server, in this process, by turns: img2dataset's worker, bare (with
its own SHA-256 of each image) and as ours (guard and pace), then what our ledger costs (each tar read and
hashed); and the plain script's work on the same links.
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
from download import DISTINCT, IMAGES, fetch_one, photograph, serve

from cloob.download.fetch.completed_tars import read_completed_tars
from cloob.download.fetch.guard import Guard, install
from cloob.download.fetch.rate_limit import HostRateLimiter

# As in ours: webdataset would import torch, which uses CPU time and is used for nothing.
sys.modules["torch"] = None  # type: ignore[assignment]
os.environ["NO_ALBUMENTATIONS_UPDATE"] = "1"
THREADS, TIMEOUT = 32, 10


def worker(folder: Path, urls: list[str], hashed: str | None) -> Callable[[], None]:
    """img2dataset's download of one tar."""
    from img2dataset.downloader import Downloader
    from img2dataset.resizer import Resizer
    from img2dataset.writer import WebDatasetSampleWriter

    table = pa.table({"uid": [f"{number:09d}" for number in range(len(urls))], "url": urls})
    with pa.ipc.new_file(str(folder / "0.feather"), table.schema) as file:
        file.write_table(table)
    resizer = Resizer(
        IMAGES.image_size,
        "keep_ratio_largest",
        True,
        encode_quality=IMAGES.quality,
        skip_reencode=True,
        min_image_size=IMAGES.min_size,
        max_aspect_ratio=IMAGES.max_aspect_ratio,
    )
    what = (WebDatasetSampleWriter, resizer, THREADS, False, False, str(folder), ["uid", "url"])
    how = (TIMEOUT, len(urls), 5, hashed, None, "jpg", 0, "cloob-benchmark", ["noai"])
    download = Downloader(*what, *how)
    return lambda: download.download_shard((0, str(folder / "0.feather")))


def timed(work: Callable[[], object]) -> float:
    """CPU seconds of this process."""
    begun = time.process_time()
    work()
    return time.process_time() - begun


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--urls", type=int, default=400, help="default: %(default)s")
    parser.add_argument("--repeats", type=int, default=7, help="rounds (default: %(default)s)")
    options = parser.parse_args()
    os.environ["no_proxy"] = "127.0.0.1"
    pipe, other = Pipe()
    images = [photograph(number) for number in range(DISTINCT)]
    Process(target=serve, args=(images, other), daemon=True).start()
    address = f"127.0.0.1:{pipe.recv()}"
    urls = [f"http://{address}/{number}.jpg" for number in range(options.urls)]
    spent: dict[str, list[float]] = defaultdict(list)
    for _ in range(options.repeats):
        with tempfile.TemporaryDirectory() as name:
            folders = [Path(name) / way for way in ("bare", "ours", "script")]
            for folder in folders:
                folder.mkdir()
            urllib.request.install_opener(urllib.request.build_opener())
            spent["bare img2dataset"].append(timed(worker(folders[0], urls, "sha256")))
            HostRateLimiter.create_file(Path(name) / "pace")
            install(Guard((address,), 50_000_000, 100_000_000, 60), HostRateLimiter(Path(name) / "pace", 1e6))
            download = timed(worker(folders[1], urls, None))
            ledger = timed(lambda folder=folders[1]: read_completed_tars(folder, {}))
            spent["ours, the ledger's part"].append(ledger)
            spent["ours"].append(download + ledger)
            work = [(url, str(number), folders[2]) for number, url in enumerate(urls)]
            spent["plain script"].append(timed(lambda work=work: [fetch_one(one) for one in work]))
    each = {way: 1000 * statistics.median(times) / options.urls for way, times in spent.items()}
    print("| what | CPU ms per image | × bare |\n|---|---|---|")
    for way in ("ours", "ours, the ledger's part", "bare img2dataset", "plain script"):
        print(f"| {way} | {each[way]:.2f} | {each['bare img2dataset'] / each[way]:.2f} |")


if __name__ == "__main__":
    main()
