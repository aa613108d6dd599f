"""Download throughput in images per second, of this package and of its alternatives.

One local server, one URL list, the same cores, image size and quality; the variants run alternately, each
from its start to its last file:

- ours: `cloob download fetch` with SSRF guard, rate limiter and ledger
- bare img2dataset with the same options, and its own SHA-256 of each image, because the ledger has one
- a plain script like that of CLOOB's authors: a pool of processes; requests; PIL decodes, drops images that
  are too elongated, scales to 512 pixels and saves

The server is a separate asyncio process that keeps the images in memory. The table shows its CPU time,
because it shares the cores with the variants. CPU time depends less on other load than wall-clock time;
`download_cpu.py` measures it most precisely.
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

IMAGE_OPTIONS = ImageOptions(image_size=512, quality=95, max_aspect_ratio=3, min_size=16, samples_per_tar=500)
SCRIPT_PROCESSES = 32  # the authors used 300
DISTINCT_IMAGES = 64


def make_photo(number: int) -> bytes:
    """A JPEG of 500 × 375 (stored as it is) or 1024 × 768 (scaled down), about as detailed as a photo."""
    rng = np.random.default_rng(number)
    width, height = ((500, 375), (1024, 768))[number % 2]
    image = Image.fromarray(rng.integers(0, 255, (height // 8, width // 8, 3), dtype=np.uint8))
    pixels = np.asarray(image.resize((width, height), Image.Resampling.BICUBIC), dtype=np.int16)
    pixels = pixels + rng.normal(0, 3, (height, width, 1)).astype(np.int16)
    content = io.BytesIO()
    Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(content, "JPEG", quality=85)
    return content.getvalue()


class ImageProtocol(asyncio.Protocol):
    """Answers each request with the image whose number is at the end of the path."""

    responses: tuple[bytes, ...] = ()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport, self.received = transport, b""

    def data_received(self, data: bytes) -> None:
        self.received += data
        while b"\r\n\r\n" in self.received:
            head, _, self.received = self.received.partition(b"\r\n\r\n")
            number = int(head.split(b" ", 2)[1].rpartition(b"/")[2].partition(b".")[0])
            self.transport.write(self.responses[number % len(self.responses)])  # type: ignore[attr-defined]


def serve(images: list[bytes], pipe: Connection) -> None:
    """Serve the images; send the port, and for each message the CPU seconds used so far."""
    head = b"HTTP/1.1 200 OK\r\nContent-Type: image/jpeg\r\nContent-Length: %d\r\n\r\n"
    ImageProtocol.responses = tuple(head % len(image) + image for image in images)

    async def run() -> None:
        server = await asyncio.get_running_loop().create_server(ImageProtocol, "127.0.0.1", 0, backlog=1000)
        pipe.send(server.sockets[0].getsockname()[1])

        def report_cpu() -> None:
            pipe.recv()
            usage = resource.getrusage(resource.RUSAGE_SELF)
            pipe.send(usage.ru_utime + usage.ru_stime)

        asyncio.get_running_loop().add_reader(pipe.fileno(), report_cpu)
        await server.serve_forever()

    asyncio.run(run())


def fetch_options(processes: int, threads: int) -> FetchOptions:
    return FetchOptions("cloob-benchmark", 1e6, 10, 0, 3, 0, processes, threads)


def run_cloob(folder: Path, address: str, processes: int, threads: int) -> None:
    """The whole verb `cloob download fetch`."""
    guard = Guard((address,), 50_000_000, 100_000_000, 60)
    flags = [f"--urls={folder}/urls.parquet", "--part=0", "--num-parts=1"]
    flags += [f"--folder={folder}/part", f"--ledger={folder}/ledger.parquet"]
    for name, value in (vars(IMAGE_OPTIONS) | vars(fetch_options(processes, threads)) | vars(guard)).items():
        flags.append(f"--{name.replace('_', '-')}={value[0] if name == 'allowed_addresses' else value}")
    command = [sys.executable, "-m", "cloob", "download", "fetch", *flags]
    subprocess.run(command, check=True, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
    assert set(pq.read_table(folder / "ledger.parquet")["outcome"].to_pylist()) == {"kept"}


def run_img2dataset(folder: Path, address: str, processes: int, threads: int) -> None:
    """img2dataset alone, with the same options."""
    options = img2dataset_options(
        folder / "urls.parquet", folder / "part" / "round_0", IMAGE_OPTIONS, fetch_options(processes, threads)
    )
    options["compute_hash"] = "sha256"
    (folder / "part").mkdir()
    program = folder / "bare.py"
    program.write_text(
        "import json, sys\nfrom img2dataset import download\n"
        "if __name__ == '__main__':\n    download(**json.loads(sys.argv[1]))\n"
    )
    command = [sys.executable, program, json.dumps(options)]
    environment = os.environ | {"NO_ALBUMENTATIONS_UPDATE": "1"}
    subprocess.run(command, check=True, capture_output=True, env=environment)


def run_script(folder: Path, address: str, processes: int, threads: int) -> None:
    """A pool of processes that writes one file per image."""
    table = pq.read_table(folder / "urls.parquet")
    (folder / "images").mkdir()
    folders = [folder / "images"] * len(table)
    tasks = list(zip(table["url"].to_pylist(), table["uid"].to_pylist(), folders, strict=True))
    with get_context("fork").Pool(SCRIPT_PROCESSES) as pool:
        assert all(pool.imap_unordered(fetch_one, tasks, chunksize=8))


def fetch_one(task: tuple[str, str, Path]) -> bool:
    """Download, check, scale and save one image; return whether it is usable."""
    url, name, folder = task
    try:
        with Image.open(io.BytesIO(requests.get(url, timeout=10).content)) as image:
            if max(image.size) > 3 * min(image.size):
                return False
            image.thumbnail((512, 512))
            image.convert("RGB").save(folder / f"{name}.jpg", quality=95)
    except (OSError, ValueError):
        return False
    return True


BARE = "bare img2dataset"
VARIANTS = {"ours": run_cloob, BARE: run_img2dataset, "plain script": run_script}


def cpu_of_children() -> float:
    """CPU seconds of all child processes that have ended."""
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def download_seconds(folder: Path) -> float | None:
    """Seconds from the start of the first tar to the end of the last, from img2dataset's statistics."""
    statistics_files = [json.loads(path.read_text()) for path in folder.glob("part/round_0/*_stats.json")]
    if not statistics_files:
        return None
    return max(tar["end_time"] for tar in statistics_files) - min(
        tar["start_time"] for tar in statistics_files
    )


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--urls", type=int, default=4000, help="default: %(default)s")
    parser.add_argument("--repeats", type=int, default=3, help="default: %(default)s")
    parser.add_argument("--processes", type=int, default=os.cpu_count(), help="default: %(default)s")
    parser.add_argument("--threads", type=int, default=32, help="per process (default: %(default)s)")
    parser.add_argument("--variant", choices=VARIANTS, help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--address", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.variant:
        run = VARIANTS[arguments.variant]
        run(arguments.folder, arguments.address, arguments.processes, arguments.threads)
        return
    os.environ["no_proxy"] = "127.0.0.1"
    images = [make_photo(number) for number in range(DISTINCT_IMAGES)]
    pipe, server_pipe = Pipe()
    server = Process(target=serve, args=(images, server_pipe), daemon=True)
    server.start()
    address = f"127.0.0.1:{pipe.recv()}"
    uids = [f"{number:09d}" for number in range(arguments.urls)]
    urls = pa.table({"uid": uids, "url": [f"http://{address}/{uid}.jpg" for uid in uids]})
    total, downloading, cpu, server_cpu = (defaultdict(list) for _ in range(4))
    for _ in range(arguments.repeats):
        for variant in VARIANTS:
            with tempfile.TemporaryDirectory() as name:
                folder = Path(name)
                pq.write_table(urls, folder / "urls.parquet")
                pipe.send("report CPU")
                server_before, cpu_before, start = pipe.recv(), cpu_of_children(), time.perf_counter()
                command = [sys.executable, __file__, "--variant", variant, "--folder", folder]
                command += ["--address", address, "--processes", str(arguments.processes)]
                subprocess.run([*command, "--threads", str(arguments.threads)], check=True)
                total[variant].append(time.perf_counter() - start)
                cpu[variant].append(cpu_of_children() - cpu_before)
                pipe.send("report CPU")
                server_cpu[variant].append(pipe.recv() - server_before)
                downloading[variant].append(download_seconds(folder) or total[variant][-1])
    server.terminate()
    size = statistics.mean(map(len, images)) / 1000
    threads = f"{arguments.processes} × {arguments.threads} threads"
    print(f"{arguments.urls:,} images of {size:.0f} KB, {threads}\n")
    columns = ["variant", "seconds", "images/s", "× bare", "while downloading", "× bare", "CPU s", "× bare"]
    print(f"| {' | '.join([*columns, 'server CPU s'])} |")
    print("|---|---|---|---|---|---|---|---|---|")
    median = statistics.median
    for variant in VARIANTS:
        ratios = [median(times[BARE]) / median(times[variant]) for times in (total, downloading, cpu)]
        rates = [arguments.urls / median(times[variant]) for times in (total, downloading)]
        seconds = [median(times[variant]) for times in (total, cpu, server_cpu)]
        print(
            f"| {variant} | {seconds[0]:.1f} | {rates[0]:.0f} | {ratios[0]:.2f} | {rates[1]:.0f} "
            f"| {ratios[1]:.2f} | {seconds[1]:.1f} | {ratios[2]:.2f} | {seconds[2]:.1f} |"
        )


if __name__ == "__main__":
    main()
