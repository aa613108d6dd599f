"""How many images a second are downloaded, by us and by what a user would pick instead?

One local server, one list, the same cores, size and quality; each way from nothing to its last file, in turn:

- ours: `cloob download fetch` with guard, pace and ledger
- bare img2dataset with the same options, and its own SHA-256 of each image, because ours has one
- a plain script of the kind the authors used: a pool of processes; requests; PIL decodes, drops what is too
  long, fits 512 pixels and saves

The server is asyncio in a process of its own and keeps the images in memory; the table says what it costs,
because it takes that from the cores of those that it serves. CPU time depends less than the clock on what
else the machine does; `download_cpu.py` tells it most exactly.
"""

import argparse
import asyncio
import io
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from multiprocessing import Pipe, Process, get_context
from multiprocessing.connection import Connection
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import requests
from PIL import Image

from cloob.download.fetch.guard import Guard
from cloob.download.fetch.round import FetchOptions, ImageOptions, img2dataset_options

IMAGES = ImageOptions(image_size=512, quality=95, max_aspect_ratio=3, min_size=16, samples_per_tar=500)
SCRIPT_PROCESSES = 32  # the authors' had 300
DISTINCT = 64


def photograph(number: int) -> bytes:
    """A JPEG of 500 × 375 (kept as it is) or 1024 × 768 (made smaller), as detailed as a photograph."""
    draw = np.random.default_rng(number)
    width, height = ((500, 375), (1024, 768))[number % 2]
    image = Image.fromarray(draw.integers(0, 255, (height // 8, width // 8, 3), dtype=np.uint8))
    pixels = np.asarray(image.resize((width, height), Image.Resampling.BICUBIC), dtype=np.int16)
    pixels = pixels + draw.normal(0, 3, (height, width, 1)).astype(np.int16)
    content = io.BytesIO()
    Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(content, "JPEG", quality=85)
    return content.getvalue()


class Served(asyncio.Protocol):
    """Answers each request with the image whose number the path ends with."""

    answers: tuple[bytes, ...] = ()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport, self.asked = transport, b""

    def data_received(self, data: bytes) -> None:
        self.asked += data
        while b"\r\n\r\n" in self.asked:
            head, _, self.asked = self.asked.partition(b"\r\n\r\n")
            number = int(head.split(b" ", 2)[1].rpartition(b"/")[2].partition(b".")[0])
            self.transport.write(self.answers[number % len(self.answers)])  # type: ignore[attr-defined]


def serve(images: list[bytes], pipe: Connection) -> None:
    """Serve; send the port, and for each word received the CPU seconds so far."""
    head = b"HTTP/1.1 200 OK\r\nContent-Type: image/jpeg\r\nContent-Length: %d\r\n\r\n"
    Served.answers = tuple(head % len(image) + image for image in images)

    async def run() -> None:
        server = await asyncio.get_running_loop().create_server(Served, "127.0.0.1", 0, backlog=1000)
        pipe.send(server.sockets[0].getsockname()[1])

        def tell() -> None:
            pipe.recv()
            used = resource.getrusage(resource.RUSAGE_SELF)
            pipe.send(used.ru_utime + used.ru_stime)

        asyncio.get_running_loop().add_reader(pipe.fileno(), tell)
        await server.serve_forever()

    asyncio.run(run())


def effort(processes: int, threads: int) -> Effort:
    return FetchOptions("cloob-benchmark", 1e6, 10, 0, 3, 0, processes, threads)


def ours(folder: Path, address: str, processes: int, threads: int) -> None:
    """The whole verb."""
    guard = Guard((address,), 50_000_000, 100_000_000, 60)
    flags: list[str] = []
    for name, value in (vars(IMAGES) | vars(effort(processes, threads)) | vars(guard)).items():
        flag = "allowed-addresses" if name == "allowed" else name.replace("_", "-")
        flags += [f"--{flag}", value[0] if name == "allowed" else str(value)]
    where = [
        "--part",
        "0",
        "--num-parts",
        "1",
        "--folder",
        folder / "part",
        "--ledger",
        folder / "ledger.parquet",
    ]
    command = [sys.executable, "-m", "cloob", "download", "fetch", "--urls", folder / "urls.parquet"]
    subprocess.run(
        [*command, *where, *flags], check=True, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL
    )
    assert set(pq.read_table(folder / "ledger.parquet")["outcome"].to_pylist()) == {"kept"}


def bare(folder: Path, address: str, processes: int, threads: int) -> None:
    """img2dataset alone, told the same."""
    options = options_of(
        folder / "urls.parquet", folder / "part" / "round_0", IMAGES, effort(processes, threads)
    )
    options["compute_hash"] = "sha256"
    (folder / "part").mkdir()
    call = "import json, sys; from img2dataset import download\nif __name__ == '__main__': "
    script = folder / "bare.py"
    script.write_text(call + "download(**json.loads(sys.argv[1]))\n")
    command = [sys.executable, script, json.dumps(options)]
    environment = os.environ | {"NO_ALBUMENTATIONS_UPDATE": "1"}
    subprocess.run(command, check=True, capture_output=True, env=environment)


def script(folder: Path, address: str, processes: int, threads: int) -> None:
    """A pool of processes, a file per image."""
    table = pq.read_table(folder / "urls.parquet")
    (folder / "images").mkdir()
    work = list(
        zip(table["url"].to_pylist(), table["uid"].to_pylist(), [folder / "images"] * len(table), strict=True)
    )
    with get_context("fork").Pool(SCRIPT_PROCESSES) as pool:
        assert all(pool.imap_unordered(fetch_one, work, chunksize=8))


def fetch_one(work: tuple[str, str, Path]) -> bool:
    """Whether the image is usable; then it is saved."""
    url, name, folder = work
    try:
        with Image.open(io.BytesIO(requests.get(url, timeout=10).content)) as image:
            if max(image.size) > 3 * min(image.size):
                return False
            image.thumbnail((512, 512))
            image.convert("RGB").save(folder / f"{name}.jpg", quality=95)
    except (OSError, ValueError):
        return False
    return True


WAYS = {"ours": ours, "bare img2dataset": bare, "plain script": script}


def cpu_of_children() -> float:
    """CPU seconds of all processes that have ended below this one."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def while_it_downloads(folder: Path) -> float | None:
    """Seconds from the first tar's start to the last one's end, as img2dataset noted them."""
    noted = [json.loads(path.read_text()) for path in folder.glob("part/round_0/*_stats.json")]
    if not noted:
        return None
    return max(one["end_time"] for one in noted) - min(one["start_time"] for one in noted)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--urls", type=int, default=4000, help="default: %(default)s")
    parser.add_argument("--repeats", type=int, default=3, help="rounds (default: %(default)s)")
    parser.add_argument("--processes", type=int, default=os.cpu_count(), help="default: %(default)s")
    parser.add_argument("--threads", type=int, default=32, help="of each process (default: %(default)s)")
    parser.add_argument("--way", choices=WAYS, help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--url", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.way:
        WAYS[options.way](options.folder, options.url, options.processes, options.threads)
        return
    os.environ["no_proxy"] = "127.0.0.1"
    images = [photograph(number) for number in range(DISTINCT)]
    pipe, other = Pipe()
    server = Process(target=serve, args=(images, other), daemon=True)
    server.start()
    address = f"127.0.0.1:{pipe.recv()}"
    names = [f"{number:09d}" for number in range(options.urls)]
    links = pa.table({"uid": names, "url": [f"http://{address}/{name}.jpg" for name in names]})
    seconds, inner, cpu, served = (defaultdict(list) for _ in range(4))
    for _ in range(options.repeats):
        for way in WAYS:
            with tempfile.TemporaryDirectory() as name:
                folder = Path(name)
                pq.write_table(links, folder / "urls.parquet")
                pipe.send("used?")
                before, used, begun = pipe.recv(), cpu_of_children(), time.perf_counter()
                own = ["--way", way, "--folder", folder, "--url", address]
                how = ["--processes", str(options.processes), "--threads", str(options.threads)]
                subprocess.run([sys.executable, __file__, *own, *how], check=True)
                seconds[way].append(time.perf_counter() - begun)
                cpu[way].append(cpu_of_children() - used)
                pipe.send("used?")
                served[way].append(pipe.recv() - before)
                inner[way].append(while_it_downloads(folder) or seconds[way][-1])
    server.terminate()
    size = statistics.mean(map(len, images))
    print(
        f"{options.urls:,} images of {size / 1000:.0f} KB, {options.processes} × {options.threads} threads\n"
    )
    print(
        "| what | seconds | images/s | × bare | while it downloads | × bare | CPU s | × bare | server's CPU |"
    )
    print("|---|---|---|---|---|---|---|---|---|")
    median = statistics.median
    for way in WAYS:
        ratios = [median(one["bare img2dataset"]) / median(one[way]) for one in (seconds, inner, cpu)]
        rates = [options.urls / median(one[way]) for one in (seconds, inner)]
        print(
            f"| {way} | {median(seconds[way]):.1f} | {rates[0]:.0f} | {ratios[0]:.2f} | {rates[1]:.0f} | "
            f"{ratios[1]:.2f} | {median(cpu[way]):.1f} | {ratios[2]:.2f} | {median(served[way]):.1f} |"
        )


if __name__ == "__main__":
    main()
