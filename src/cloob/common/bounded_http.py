"""HTTP answers of bounded size and duration, counted where the bytes arrive: below `http.client`.

`http.client` believes what a server says of its own answer: it reads to the end of the stream for a chunk of
size -1, and reads header lines, trailers and interim (1xx) answers for as long as they come. So every byte
received for a request counts, whatever it belongs to, in one `Budget` for the request and all its redirects.
"""

import http.client
import io
import socket
import ssl
import time
import urllib.request
from collections.abc import Callable
from typing import Any

_OVERHEAD = 1 << 20  # bytes of status lines, headers and chunk sizes that count for nothing
_PIECE = 1 << 16


class TooLargeError(OSError):
    """An answer of more bytes, or an image of more pixels, than is allowed."""


class Budget:
    """The bytes and the seconds that are left for a request and its redirects.

    `slowest` (bytes per second) extends the time by what was received; 0 extends nothing. Time counts from
    one `start` to the next `stop`, so that waiting for permission to connect is free. `at_once` bounds a body
    that is read as a whole.
    """

    def __init__(self, max_bytes: int, seconds: float, at_once: int, slowest: float = 0) -> None:
        self.max_bytes, self.at_once = max_bytes, at_once
        self._bytes = max_bytes + max_bytes // 8 + _OVERHEAD
        self._seconds, self._slowest = seconds, slowest
        self._ends: float | None = None

    def start(self) -> None:
        """A connection is made: its time runs."""
        self._ends = time.monotonic() + self._seconds

    def stop(self) -> None:
        """The time stands still until the next `start`."""
        if self._ends is not None:
            self._seconds, self._ends = self._ends - time.monotonic(), None

    def seconds_left(self) -> float:
        """Raise `TimeoutError` where no time is left."""
        left = self._seconds if self._ends is None else self._ends - time.monotonic()
        if left <= 0:
            raise TimeoutError("answer too slow")
        return left

    def receive(self, number: int) -> None:
        """Count bytes that were received. Raises `TooLargeError`."""
        self._bytes -= number
        if self._slowest and self._ends is not None:
            self._ends += number / self._slowest
        if self._bytes < 0:
            raise self.too_large()

    def too_large(self) -> TooLargeError:
        """The error for an answer beyond the budget."""
        return TooLargeError(f"answer of more than {self.max_bytes} bytes")


class _CountedSocket(io.RawIOBase):
    """What arrives at a socket, counted."""

    def __init__(self, connection: socket.socket, budget: Budget) -> None:
        self._connection, self._budget = connection, budget
        self._patience = connection.gettimeout()
        self._raw: Any = connection.makefile("rb", buffering=0)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int | None:
        left = self._budget.seconds_left()
        self._connection.settimeout(left if self._patience is None else min(left, self._patience))
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


class _Stream(io.BufferedReader):
    """Never reads "to the end", which is what `http.client` asks for by a negative number."""

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
    """A response within a budget."""

    def __init__(self, connection: socket.socket, *arguments: Any, budget: Budget, **options: Any) -> None:
        super().__init__(connection, *arguments, **options)
        self.budget = budget
        self.fp.close()
        self.fp = _Stream(connection, budget)

    def read(self, amount: int | None = None) -> bytes:
        """Of all that is left at most what the budget allows at once. Raises `TooLargeError`."""
        if amount is not None:
            return super().read(amount)
        content = io.BytesIO()
        while piece := super().read(_PIECE):
            if content.tell() + len(piece) > self.budget.at_once:
                raise TooLargeError(f"answer of more than {self.budget.at_once} bytes")
            content.write(piece)
        if self.length:
            raise http.client.IncompleteRead(b"", self.length)
        return content.getvalue()


def bounded_opener(
    new: Callable[[], Budget],
    response: type[BoundedResponse] = BoundedResponse,
    connect: Callable[..., socket.socket] = socket.create_connection,
    tls: ssl.SSLContext | None = None,
    proxies: bool = True,
) -> urllib.request.OpenerDirector:
    """An opener of http and https alone, wherever a redirect leads, each request within a budget of `new`.

    `connect` is called as `socket.create_connection`; `proxies` are those of the environment.
    """

    class Http(urllib.request.HTTPHandler):
        def http_open(self, request: Any) -> Any:
            return self.do_open(within(http.client.HTTPConnection, request), request)

    class Https(urllib.request.HTTPSHandler):
        def https_open(self, request: Any) -> Any:
            return self.do_open(within(http.client.HTTPSConnection, request), request, context=tls)

    class Redirect(urllib.request.HTTPRedirectHandler):
        def redirect_request(self, request: Any, *arguments: Any) -> Any:
            redirected = super().redirect_request(request, *arguments)
            if redirected is not None:  # it uses what is left
                redirected.budget = request.budget
            return redirected

    def within(connection: type, request: Any) -> type:
        if not hasattr(request, "budget"):
            request.budget = new()
        return _of_budget(connection, request.budget, response, connect)

    made = urllib.request.OpenerDirector()
    for handler in (
        *([urllib.request.ProxyHandler()] if proxies else []),
        Http(),
        Https(),
        urllib.request.HTTPDefaultErrorHandler(),
        Redirect(),
        urllib.request.HTTPErrorProcessor(),
        urllib.request.UnknownHandler(),
    ):
        made.add_handler(handler)
    return made


def _of_budget(connection: type, budget: Budget, response: type[BoundedResponse], connect: Callable) -> type:
    """A class of connections (of `http.client`) whose responses keep to the budget.

    `connect` has the signature of `socket.create_connection`.
    """

    class Bounded(connection):  # type: ignore[misc, valid-type]
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
