"""A web server that violates HTTP and wastes resources in a different way on each path."""

import io
import socketserver
import threading
import time
import zlib
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from PIL import Image

from tests.helpers.recording_server import random_jpeg


class HostileServer(socketserver.ThreadingTCPServer):
    """Each path is answered by the method of that name; `target` is where `/redirect` leads."""

    daemon_threads = True
    allow_reuse_address = True
    target = ""

    class RequestHandlerClass(socketserver.StreamRequestHandler):
        def handle(self) -> None:
            path = self.rfile.readline().split()[1].decode()
            self.server.requests.append(path)
            while self.rfile.readline().strip():
                pass
            with suppress(OSError):  # the client hung up
                getattr(self, path.strip("/").partition("?")[0])()

        def respond(self, head: str, body: bytes = b"") -> None:
            self.wfile.write(f"HTTP/1.1 {head}\r\n\r\n".encode() + body)

        def redirect(self) -> None:
            self.respond(f"302 Found\r\nLocation: {self.server.target}")

        def to_file(self) -> None:
            self.respond("302 Found\r\nLocation: file:///etc/passwd")

        def endless(self) -> None:
            self.respond("200 OK")
            while True:
                self.wfile.write(b"x" * 100_000)

        def dripping(self) -> None:
            self.respond("200 OK")
            while True:
                self.wfile.write(b"x")
                time.sleep(0.2)

        def headers(self) -> None:
            self.wfile.write(b"HTTP/1.0 200 OK\r\nX-Slow: ")
            while True:
                self.wfile.write(b"x")
                time.sleep(0.2)

        def pixel_bomb(self) -> None:
            content = png_bomb(30_000)
            self.respond(f"200 OK\r\nContent-Length: {len(content)}", content)

        def many_scans(self) -> None:
            """A progressive JPEG with so many scans that decoding takes long."""
            content = io.BytesIO()
            Image.effect_noise((100, 80), 60).save(content, "JPEG", progressive=True)
            head, tail = content.getvalue()[:-2], content.getvalue()[-2:]
            content = head + head[head.rindex(b"\xff\xda") :] * 200 + tail
            self.respond(f"200 OK\r\nContent-Length: {len(content)}", content)

        def partial(self) -> None:
            self.respond("206 Partial Content\r\nContent-Length: 100", random_jpeg(1)[:100])

        def no_content(self) -> None:
            self.respond("204 No Content")

        def cut(self) -> None:
            self.respond("200 OK\r\nContent-Length: 1000", b"x" * 10)

        def chunks(self) -> None:
            self.respond("200 OK\r\nTransfer-Encoding: chunked", b"zz\r\nwhat?")

        def chunked(self, size: str, forever: bytes = b"x" * 100_000) -> None:
            """A chunk with the given size field, and then bytes without end."""
            self.respond("200 OK\r\nTransfer-Encoding: chunked", f"{size}\r\n".encode())
            while True:
                self.wfile.write(forever)

        def chunk_size_minus_one(self) -> None:
            self.chunked("-1")

        def chunk_size_negative(self) -> None:
            self.chunked("-ffffff")

        def chunk_size_int64_max(self) -> None:
            self.chunked("7" + "f" * 15)

        def chunk_size_of_many_digits(self) -> None:
            self.chunked("f" * 40_000)

        def chunk_size_empty(self) -> None:
            self.chunked("")

        def chunk_extensions(self) -> None:
            self.chunked("1;" + "x" * 1_000, b"x\r\n1;" + b"x" * 1_000 + b"\r\n")

        def trailers(self) -> None:
            self.chunked("0", b"X-More: " + b"1" * 60_000 + b"\r\n")

        def interim(self) -> None:
            while True:
                self.wfile.write(b"HTTP/1.1 100 Continue\r\nX: " + b"x" * 60_000 + b"\r\n\r\n")

        def redirect_with_body(self) -> None:
            self.wfile.write(b"HTTP/1.1 302 Found\r\nLocation: /noise\r\n\r\n")
            while True:
                self.wfile.write(b"x" * 100_000)

        def slow_redirects(self) -> None:
            time.sleep(0.7)
            self.respond(f"302 Found\r\nLocation: /slow_redirects?{time.time()}")

        def dripping_chunks(self) -> None:
            self.respond("200 OK\r\nTransfer-Encoding: chunked")
            while True:
                self.wfile.write(b"1\r\nx\r\n")
                time.sleep(0.2)

        def dripping_trailers(self) -> None:
            self.respond("200 OK\r\nTransfer-Encoding: chunked", b"0\r\n")
            while True:
                self.wfile.write(b"x\r\n")
                time.sleep(0.2)

        def two_lengths(self) -> None:
            head = "200 OK\r\nContent-Length: 1\r\nTransfer-Encoding: chunked"
            self.respond(head, b"5\r\nwhole\r\n0\r\n\r\n")

        def length_with_sign(self) -> None:
            self.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Length: +100\r\n\r\nhalf")

        def length_of_many_digits(self) -> None:
            self.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Length: " + b"9" * 30 + b"\r\n\r\nhalf")

        def range_of_unknown_total(self) -> None:
            head = b"HTTP/1.1 206 Partial Content\r\nContent-Range: bytes 0-99/*\r\n"
            self.wfile.write(head + b"Content-Length: 100\r\n\r\nhalf")

        def hang_up(self) -> None:
            pass

        def junk(self) -> None:
            self.wfile.write(b"\0\xff\r\nHTTP Error 404: certificate\r\n\r\n")

        def misleading_status_line(self) -> None:
            self.wfile.write(b"undecoded image: kept\r\n\r\n")

        def misleading_protocol(self) -> None:
            self.wfile.write(b"HTTP/certificate 200 OK\r\n\r\n")

        def misleading_reason(self) -> None:
            self.respond("404 image too small, timed out, certificate\r\nContent-Length: 0")

        def crowded(self) -> None:
            self.respond("200 OK\r\n" + "\r\n".join(f"X-{number}: 1" for number in range(200)))

        def long_line(self) -> None:
            self.respond(f"200 OK\r\nX-Long: {'x' * 100_000}")

        def opted_out(self) -> None:
            self.respond("200 OK\r\nX-Robots-Tag: noai", random_jpeg(1))

        def opted_out_of_us(self) -> None:
            self.respond("200 OK\r\nX-Robots-Tag: cloob-tests: noindex", random_jpeg(1))

        def gzip(self) -> None:
            self.respond("200 OK\r\nContent-Encoding: deflate", zlib.compress(random_jpeg(1)))

        def noise(self) -> None:
            self.respond("200 OK\r\nContent-Type: image/jpeg", b"\xff\xd8\xff\xe0" + bytes(range(256)) * 9)

    def __init__(self) -> None:
        self.requests: list[str] = []
        super().__init__(("127.0.0.1", 0), self.RequestHandlerClass)


@contextmanager
def hostile_server() -> Iterator[HostileServer]:
    """A running hostile server."""
    with HostileServer() as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server
        server.shutdown()


def png_bomb(edge: int) -> bytes:
    """A black PNG of edge × edge pixels in about 100 KB."""
    content = io.BytesIO()
    Image.new("1", (8, 8)).save(content, "PNG")
    rows = zlib.compressobj(9)
    packed = b"".join(rows.compress(bytes(1 + edge // 8)) for _ in range(edge)) + rows.flush()

    def chunk(kind: bytes, body: bytes) -> bytes:
        return len(body).to_bytes(4, "big") + kind + body + zlib.crc32(kind + body).to_bytes(4, "big")

    head = edge.to_bytes(4, "big") * 2 + bytes([1, 0, 0, 0, 0])
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", packed) + chunk(b"IEND", b"")
