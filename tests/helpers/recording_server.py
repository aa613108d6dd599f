"""A web server that records requests, and helpers for tests that download from it."""

import io
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

from cloob.download.fetch.guard import Guard
from cloob.download.fetch.round import FetchOptions, ImageOptions
from cloob.toy_data.server import ToyDataServer


class RecordingServer(ToyDataServer):
    """Serves a folder and records every requested path in `requests`.

    Paths below `/always/STATUS/` get that status; paths below `/first/STATUS/` get it on the first request,
    and then the file without that prefix.
    """

    def __init__(self, root: Path) -> None:
        super().__init__(root, port=0)
        self.requests: list[str] = []
        self.failed_once: set[str] = set()
        handler, requests, failed_once = self.RequestHandlerClass, self.requests, self.failed_once

        class RecordingHandler(handler):  # type: ignore[misc, valid-type]
            def do_GET(self) -> None:  # noqa: N802
                requests.append(self.path)
                parts = self.path.split("/", 3)
                if parts[1] == "always" or (parts[1] == "first" and self.path not in failed_once):
                    failed_once.add(self.path)
                    self.send_error(int(parts[2]))
                    return
                if parts[1] == "first":
                    self.path = f"/{parts[3]}"
                super().do_GET()

        self.RequestHandlerClass = RecordingHandler

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"


def guard_allowing(*servers: ToyDataServer, **limits: float) -> Guard:
    """A guard that allows connections to these local servers."""
    allowed = tuple(f"127.0.0.1:{server.server_address[1]}" for server in servers)
    defaults = {"max_bytes": 10_000_000, "max_pixels": 10_000_000, "max_seconds": 20}
    return Guard(allowed, **defaults | limits)  # type: ignore[arg-type]


def random_jpeg(seed: int, width: int = 60, height: int = 40) -> bytes:
    """A small JPEG of noise."""
    pixels = np.random.default_rng(seed).integers(0, 255, (height, width, 3), dtype=np.uint8)
    content = io.BytesIO()
    Image.fromarray(pixels).save(content, "JPEG")
    return content.getvalue()


def fetch_flags(image_options: ImageOptions, fetch_options: FetchOptions, guard: Guard) -> list[str]:
    """The flags of `cloob download fetch` for these options."""
    words = []
    for name, value in (asdict(image_options) | asdict(fetch_options) | asdict(guard)).items():
        values = value if isinstance(value, tuple) else [value]
        words += [f"--{name.replace('_', '-')}", *map(str, values)]
    return words


def write_url_table(path: Path, urls: list[str | None]) -> list[str]:
    """Write a URL table of these URLs; return their uids."""
    uids = [f"{number:09d}" for number in range(len(urls))]
    columns = {"uid": uids, "url": pa.array(urls, pa.string()), "caption": uids}
    pq.write_table(pa.table(columns), path)
    return uids


def read_rows(path: Path) -> list[dict]:
    """The rows of a Parquet file."""
    return pq.read_table(path).to_pylist()
