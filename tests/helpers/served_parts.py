"""A web server that remembers what it was asked for, and what it may serve."""

import io
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
from PIL import Image

from cloob.download.fetch.guard import Guard
from cloob.download.fetch.round import Effort, Images
from cloob.toy_data.server import ToyDataServer


class RememberingServer(ToyDataServer):
    """Serves a folder and keeps every path that was asked for.

    Below `/always/STATUS/` every path is answered with that status; below `/first/STATUS/` the first time,
    and then as without that prefix.
    """

    def __init__(self, root: Path) -> None:
        super().__init__(root, port=0)
        self.asked: list[str] = []
        self.met: set[str] = set()
        handler, asked, met = self.RequestHandlerClass, self.asked, self.met

        class Remembering(handler):  # type: ignore[misc, valid-type]
            def do_GET(self) -> None:  # noqa: N802
                asked.append(self.path)
                parts = self.path.split("/", 3)
                if parts[1] == "always" or (parts[1] == "first" and self.path not in met):
                    met.add(self.path)
                    self.send_error(int(parts[2]))
                    return
                if parts[1] == "first":
                    self.path = f"/{parts[3]}"
                super().do_GET()

        self.RequestHandlerClass = Remembering

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"


def guard(*servers: ToyDataServer, **limits: float) -> Guard:
    """A guard that lets us reach these servers of the tests."""
    allowed = tuple(f"127.0.0.1:{server.server_address[1]}" for server in servers)
    usual = {"max_bytes": 10_000_000, "max_pixels": 10_000_000, "max_seconds": 20}
    return Guard(allowed, **usual | limits)  # type: ignore[arg-type]


def jpeg(seed: int, width: int = 60, height: int = 40) -> bytes:
    """A small photograph of nothing."""
    pixels = np.random.default_rng(seed).integers(0, 255, (height, width, 3), dtype=np.uint8)
    content = io.BytesIO()
    Image.fromarray(pixels).save(content, "JPEG")
    return content.getvalue()


def flags_of(images: Images, effort: Effort, guard: Guard) -> list[str]:
    """What `cloob download fetch` is told of these."""
    words = []
    for name, value in (asdict(images) | asdict(effort) | asdict(guard)).items():
        values = value if isinstance(value, tuple) else [value]
        flag = "allowed-addresses" if name == "allowed" else name.replace("_", "-")
        words += [f"--{flag}", *map(str, values)]
    return words


def rows_of(links: Path) -> list[dict]:
    """The table of links."""
    return pq.read_table(links).to_pylist()
