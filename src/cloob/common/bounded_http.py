"""HTTP responses of bounded size and duration, limited at the socket, below `http.client`.

`http.client` trusts the server: it reads to the end of the stream for a chunk of size -1, and reads header
lines, trailers and interim (1xx) responses for as long as they arrive. Therefore every byte received for a
request counts towards one `Budget` for the request and all its redirects.
"""

import http.client
import io
import socket
import ssl
import time
import urllib.request
from collections.abc import Callable
from typing import Any

_HEADER_ALLOWANCE = 1 << 20  # bytes for status lines, headers and chunk sizes
_BLOCK_BYTES = 1 << 16


class TooLargeError(OSError):
    """A response with more bytes, or an image with more pixels, than allowed."""


class Budget:
    """The remaining bytes and seconds of a request and its redirects.

    With `min_bytes_per_second`, received bytes extend the time limit accordingly. The clock runs from `start`
    to `stop`, so that time spent in the rate limiter does not count. `max_body_bytes` limits a body that is
    read as a whole.
    """

    def __init__(
        self, max_bytes: int, seconds: float, max_body_bytes: int, min_bytes_per_second: float = 0
    ) -> None:
        self.max_bytes, self.max_body_bytes = max_bytes, max_body_bytes
        self._bytes_left = max_bytes + max_bytes // 8 + _HEADER_ALLOWANCE
        self._seconds, self._min_bytes_per_second = seconds, min_bytes_per_second
        self._deadline: float | None = None

    def start(self) -> None:
        """Start the clock: a connection has been made."""
        self._deadline = time.monotonic() + self._seconds

    def stop(self) -> None:
        """Stop the clock until the next `start`."""
        if self._deadline is not None:
            self._seconds, self._deadline = self._deadline - time.monotonic(), None

    def seconds_left(self) -> float:
        """The seconds left. Raises `TimeoutError` if there are none."""
        seconds = self._seconds if self._deadline is None else self._deadline - time.monotonic()
        if seconds <= 0:
            raise TimeoutError("response too slow")
        return seconds

    def receive(self, num_bytes: int) -> None:
        """Count received bytes. Raises `TooLargeError` beyond the budget."""
        self._bytes_left -= num_bytes
        if self._min_bytes_per_second and self._deadline is not None:
            self._deadline += num_bytes / self._min_bytes_per_second
        if self._bytes_left < 0:
            raise self.too_large()

    def too_large(self) -> TooLargeError:
        """The error for a response beyond the budget."""
        return TooLargeError(f"response of more than {self.max_bytes} bytes")


class _CountedSocket(io.RawIOBase):
    """A raw stream over a socket that counts received bytes."""

    def __init__(self, connection: socket.socket, budget: Budget) -> None:
        self._connection, self._budget = connection, budget
        self._timeout = connection.gettimeout()
        self._raw: Any = connection.makefile("rb", buffering=0)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int | None:
        seconds = self._budget.seconds_left()
        self._connection.settimeout(seconds if self._timeout is None else min(seconds, self._timeout))
        try:
            received = self._raw.readinto(buffer)
        except (TimeoutError, ConnectionError):
            self._budget.seconds_left()
            raise
        self._budget.receive(received or 0)
        return received

    def close(self) -> None:
        self._raw.close()
        super().close()


class _BoundedStream(io.BufferedReader):
    """Rejects reads to the end of the stream, which `http.client` requests by a negative size."""

    def __init__(self, connection: socket.socket, budget: Budget) -> None:
        self._budget = budget
        super().__init__(_CountedSocket(connection, budget))

    def read(self, size: int | None = -1) -> bytes:
        if size is None or size < 0:
            raise self._budget.too_large()
        return super().read(size)

    def read1(self, size: int = -1) -> bytes:
        if size < 0:
            raise self._budget.too_large()
        return super().read1(size)


class BoundedResponse(http.client.HTTPResponse):
    """An HTTP response that uses a `Budget`."""

    def __init__(self, connection: socket.socket, *arguments: Any, budget: Budget, **options: Any) -> None:
        super().__init__(connection, *arguments, **options)
        self.budget = budget
        self.fp.close()
        self.fp = _BoundedStream(connection, budget)

    def read(self, amount: int | None = None) -> bytes:
        """Read `amount` bytes, or the whole body. Raises `TooLargeError` beyond `max_body_bytes`."""
        if amount is not None:
            return super().read(amount)
        content = io.BytesIO()
        while block := super().read(_BLOCK_BYTES):
            if content.tell() + len(block) > self.budget.max_body_bytes:
                raise TooLargeError(f"response of more than {self.budget.max_body_bytes} bytes")
            content.write(block)
        if self.length:
            raise http.client.IncompleteRead(b"", self.length)
        return content.getvalue()


def bounded_opener(
    new_budget: Callable[[], Budget],
    response: type[BoundedResponse] = BoundedResponse,
    connect: Callable[..., socket.socket] = socket.create_connection,
    tls: ssl.SSLContext | None = None,
    proxies: bool = True,
) -> urllib.request.OpenerDirector:
    """A urllib opener for http and https only, also after redirects; each request gets a `new_budget()`.

    `connect` has the signature of `socket.create_connection`; `proxies`: use the proxies of the environment.
    """

    class Http(urllib.request.HTTPHandler):
        def http_open(self, request: Any) -> Any:
            return self.do_open(with_budget(http.client.HTTPConnection, request), request)

    class Https(urllib.request.HTTPSHandler):
        def https_open(self, request: Any) -> Any:
            return self.do_open(with_budget(http.client.HTTPSConnection, request), request, context=tls)

    class Redirect(urllib.request.HTTPRedirectHandler):
        def redirect_request(self, request: Any, *arguments: Any) -> Any:
            redirected: Any = super().redirect_request(request, *arguments)
            if redirected is not None:  # continue with the remaining budget
                redirected.budget = request.budget
            return redirected

    def with_budget(connection: type, request: Any) -> Any:
        if not hasattr(request, "budget"):
            request.budget = new_budget()
        return _bounded_connection_class(connection, request.budget, response, connect)

    director = urllib.request.OpenerDirector()
    for handler in (
        *([urllib.request.ProxyHandler()] if proxies else []),
        Http(),
        Https(),
        urllib.request.HTTPDefaultErrorHandler(),
        Redirect(),
        urllib.request.HTTPErrorProcessor(),
        urllib.request.UnknownHandler(),
    ):
        director.add_handler(handler)
    return director


def _bounded_connection_class(
    connection: type, budget: Budget, response: type[BoundedResponse], connect: Callable
) -> type:
    """A subclass of a connection class of `http.client` whose responses use the budget.

    `connect` has the signature of `socket.create_connection`.
    """

    class Bounded(connection):
        def __init__(self, *arguments: object, **options: object) -> None:
            super().__init__(*arguments, **options)
            self._create_connection = self._connect
            self.response_class = self._respond

        def _connect(self, *arguments: object) -> socket.socket:
            budget.stop()
            connected = connect(*arguments)
            budget.start()
            return connected

        def _respond(self, *arguments: object, **options: object) -> BoundedResponse:
            return response(*arguments, budget=budget, **options)  # type: ignore[arg-type]

    return Bounded
