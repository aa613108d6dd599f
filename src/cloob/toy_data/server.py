"""A web server for the small world: its pictures, and the bad manners of real hosts.

Below `/redirect/` a path leads to itself without that prefix, below `/loop/` it leads ever further
into the loop, below `/stall/` no answer comes. Everything else is a file of the served folder, read
when it is asked for, so that the folder may come into being while the server runs.
"""

import sys
import threading
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote, urlsplit

# Longer than any client waits; the client's own time-out comes first.
_STALL_SECONDS = 300.0
# A kept-alive connection that says nothing for so long is closed.
_IDLE_SECONDS = 60.0
# The web says of a file what its first bytes are, whatever it is called.
_CONTENT_TYPES = (
    (b"\xff\xd8", "image/jpeg"),
    (b"\x89PNG", "image/png"),
    (b"<!DOCTYPE", "text/html; charset=utf-8"),
)


class WorldServer(ThreadingHTTPServer):
    """Serves `root` on a loopback port, a thread per connection. Raises `OSError` where the port is taken."""

    daemon_threads = True
    block_on_close = False
    request_queue_size = 512

    def __init__(self, root: Path, port: int) -> None:
        """Take the port (0: any free one); nothing is answered before `serving` or `serve_forever`."""
        self.root = root
        self.stopping = threading.Event()
        super().__init__(("127.0.0.1", port), _Handler)

    def __enter__(self) -> "WorldServer":
        """Answer requests in a thread of its own until the end of the `with` block."""
        threading.Thread(target=self.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        """Answer no more, let stalled clients go, give the port back."""
        self.stopping.set()
        self.shutdown()
        self.server_close()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that hangs up is everyday; anything else is told."""
        if not isinstance(sys.exc_info()[1], ConnectionError | TimeoutError):
            super().handle_error(request, client_address)


class _Handler(BaseHTTPRequestHandler):
    server: WorldServer
    protocol_version = "HTTP/1.1"
    server_version = "cloob-world"
    timeout = _IDLE_SECONDS
    # Head and body leave in one piece: two small packets would wait for each other.
    wbufsize = -1
    disable_nagle_algorithm = True

    def do_GET(self) -> None:
        path = urlsplit(self.path).path
        prefix, _, rest = path.lstrip("/").partition("/")
        if prefix == "stall":
            self.server.stopping.wait(_STALL_SECONDS)
            self.close_connection = True
        elif prefix == "redirect":
            self._redirect(f"/{quote(unquote(rest))}")
        elif prefix == "loop":
            self._redirect(f"/loop/{'a' if rest.endswith('b') else 'b'}")
        else:
            self._file(unquote(path))

    def do_HEAD(self) -> None:
        self.do_GET()

    def _redirect(self, location: str) -> None:
        self.send_response(HTTPStatus.FOUND)
        self.send_header("Location", location)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def _file(self, path: str) -> None:
        try:
            root = self.server.root.resolve()
            wanted = (root / path.lstrip("/")).resolve()
            if not wanted.is_relative_to(root):
                raise FileNotFoundError
            content = wanted.read_bytes()
        except (OSError, ValueError):
            self.send_error(HTTPStatus.NOT_FOUND)
            return
        kinds = (kind for start, kind in _CONTENT_TYPES if content.startswith(start))
        self.send_response(HTTPStatus.OK)
        self.send_header("Content-Type", next(kinds, "application/octet-stream"))
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)

    def log_message(self, *_: object) -> None:
        """Thousands of requests are no news."""
