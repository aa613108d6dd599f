"""A web server for large files: byte ranges, versions, and the ways in which such servers fail."""

import threading
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


@dataclass
class Served:
    """A file, how the server behaves, and which ranges it was asked for ("" is all of it)."""

    content: bytes
    version: str | None = '"1"'
    ranges: bool = True
    length: bool = True
    cuts: list[int] = field(default_factory=list)  # after how many bytes the next answers break off
    statuses: list[int] = field(default_factory=list)  # what the next answers are instead
    location: str | None = None
    asked: list[str] = field(default_factory=list)


class RangedServer(ThreadingHTTPServer):
    """Serves `files` by their paths on a free loopback port."""

    daemon_threads = True

    def __init__(self) -> None:
        self.files: dict[str, Served] = {}
        super().__init__(("127.0.0.1", 0), _Handler)

    def address(self, path: str) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/{path}"

    def handle_error(self, *_: object) -> None:
        """A client that refuses a file hangs up."""

    def __enter__(self) -> "RangedServer":
        threading.Thread(target=self.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self.shutdown()
        self.server_close()


class _Handler(BaseHTTPRequestHandler):
    server: RangedServer

    def do_GET(self) -> None:
        served = self.server.files.get(self.path[1:])
        if served is None:
            self.send_error(404)
            return
        asked = self.headers.get("Range", "")
        served.asked.append(asked)
        if served.location or served.statuses:
            self.send_response(302 if served.location else served.statuses.pop(0))
            self.send_header("Location", served.location or "/")
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        same = self.headers.get("If-Range", served.version) == served.version
        start = int(asked[len("bytes=") : -1]) if asked and same and served.ranges else 0
        total = len(served.content)
        if start >= total > 0:
            self.send_response(416)
            self.send_header("Content-Range", f"bytes */{total}")
            self.end_headers()
            return
        self.send_response(206 if start else 200)
        if start:
            self.send_header("Content-Range", f"bytes {start}-{total - 1}/{total}")
        if served.version:
            self.send_header("ETag", served.version)
        if served.length:
            self.send_header("Content-Length", str(total - start))
        self.end_headers()
        end = start + served.cuts.pop(0) if served.cuts else total
        self.wfile.write(served.content[start:end])

    def log_message(self, *_: object) -> None:
        """Be quiet."""
