"""A web server for the images of the toy dataset that also imitates faulty hosts.

`/redirect/PATH` redirects to `/PATH`, `/loop/…` redirects forever, `/stall/…` never responds. All other paths
are files of the served folder, read at the time of the request: the folder may be created later.
"""

import sys
import threading
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote, urlsplit

# Longer than the timeout of any client.
_STALL_SECONDS = 300.0
# Idle persistent connections are closed after this time.
_IDLE_SECONDS = 60.0
# The content type is determined from the first bytes, not from the suffix.
_CONTENT_TYPES = (
    (b"\xff\xd8", "image/jpeg"),
    (b"\x89PNG", "image/png"),
    (b"<!DOCTYPE", "text/html; charset=utf-8"),
)


class ToyDataServer(ThreadingHTTPServer):
    """Serves `root` on a loopback port, one thread per connection. Raises `OSError` if the port is in use."""

    daemon_threads = True
    block_on_close = False
    request_queue_size = 512

    def __init__(self, root: Path, port: int) -> None:
        """Bind the port (0: any free port); requests are served inside a `with` block."""
        self.root = root
        self.stopping = threading.Event()
        super().__init__(("127.0.0.1", port), _Handler)

    def __enter__(self) -> "ToyDataServer":
        """Serve requests in a background thread until the end of the `with` block."""
        threading.Thread(target=self.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        """Stop serving, close stalled connections, and release the port."""
        self.stopping.set()
        self.shutdown()
        self.server_close()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Report errors other than closed connections."""
        if not isinstance(sys.exc_info()[1], ConnectionError | TimeoutError):
            super().handle_error(request, client_address)


class _Handler(BaseHTTPRequestHandler):
    server: ToyDataServer
    protocol_version = "HTTP/1.1"
    server_version = "cloob-toy-data"
    timeout = _IDLE_SECONDS
    # Headers and body are sent at once: two small packets would be delayed by Nagle's algorithm.
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
            self._send_file(unquote(path))

    def do_HEAD(self) -> None:
        self.do_GET()

    def _redirect(self, location: str) -> None:
        self.send_response(HTTPStatus.FOUND)
        self.send_header("Location", location)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def _send_file(self, path: str) -> None:
        try:
            root = self.server.root.resolve()
            file = (root / path.lstrip("/")).resolve()
            if not file.is_relative_to(root):
                raise FileNotFoundError
            content = file.read_bytes()
        except (OSError, ValueError):
            self.send_error(HTTPStatus.NOT_FOUND)
            return
        types = (name for prefix, name in _CONTENT_TYPES if content.startswith(prefix))
        self.send_response(HTTPStatus.OK)
        self.send_header("Content-Type", next(types, "application/octet-stream"))
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)

    def log_message(self, *_: object) -> None:
        """Do not log requests."""
