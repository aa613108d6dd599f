"""A web server for large files with byte ranges and ETags, which can fail in the typical ways."""

import threading
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


@dataclass
class ServedFile:
    """A file, how the server behaves for it, and the requested ranges ("" is the whole file)."""

    content: bytes
    version: str | None = '"1"'
    ranges: bool = True
    length: bool = True
    cuts: list[int] = field(default_factory=list)  # bytes after which each of the next responses breaks off
    statuses: list[int] = field(default_factory=list)  # of the next responses, which have no content
    location: str | None = None  # redirect to this URL
    requested_ranges: list[str] = field(default_factory=list)


class RangeServer(ThreadingHTTPServer):
    """Serves `files` by their paths on a free loopback port."""

    daemon_threads = True

    def __init__(self) -> None:
        self.files: dict[str, ServedFile] = {}
        super().__init__(("127.0.0.1", 0), _Handler)

    def url_of(self, path: str) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/{path}"

    def handle_error(self, *_: object) -> None:
        """Ignore clients that hang up because they reject a file."""

    def __enter__(self) -> "RangeServer":
        threading.Thread(target=self.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self.shutdown()
        self.server_close()


class _Handler(BaseHTTPRequestHandler):
    server: RangeServer

    def do_GET(self) -> None:
        served = self.server.files.get(self.path[1:])
        if served is None:
            self.send_error(404)
            return
        requested = self.headers.get("Range", "")
        served.requested_ranges.append(requested)
        if served.location or served.statuses:
            self.send_response(302 if served.location else served.statuses.pop(0))
            self.send_header("Location", served.location or "/")
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        unchanged = self.headers.get("If-Range", served.version) == served.version
        start = int(requested[len("bytes=") : -1]) if requested and unchanged and served.ranges else 0
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
        """No log output."""
