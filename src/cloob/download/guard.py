"""What a request may reach and what an answer may cost: links come from strangers.

img2dataset asks `urllib.request.urlopen`, follows redirects, opens any scheme, and reads and decodes whatever
comes. `install` gives the process an opener that speaks http and https only and connects to public addresses
only. The address is checked when it is connected to, so a link, a name and a redirect are the same to it, and
a name that resolves otherwise the second time gains nothing. No proxy is used: nobody sees through one.
"""

import http.client
import io
import socket
import ssl
import threading
import time
import urllib.request
import warnings
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from typing import Any

from PIL import Image

from cloob.download.pace import Pace

_CHUNK = 1 << 16
_NAT64 = ip_network("64:ff9b::/96")
_SITE_LOCAL = ip_network("fec0::/10")  # out of use, and not global
_METADATA = ip_address("168.63.129.16")  # of Azure's machines, at an address that looks public
_LOOK_SECONDS = 0.5
# Successes of HTTP that bring no image, or not all of it: of all that is kept the status is 200.
_NO_CONTENT = range(201, 300)
Address = IPv4Address | IPv6Address


class ForbiddenAddressError(OSError):
    """All addresses of a host are such as no stranger may send us to."""


class TooLargeError(OSError):
    """An answer of more bytes, or an image of more pixels, than is allowed."""


@dataclass(frozen=True)
class Guard:
    """`allowed` are the addresses (`IP:port`) that may be reached though they are not public."""

    allowed: tuple[str, ...]
    maximum_bytes: int
    maximum_pixels: int
    maximum_seconds: float  # of an answer, from the connection on

    def connect(
        self,
        address: tuple[str, int],
        timeout: float | None = None,
        *_: object,
        wait: Callable[[str], None] = lambda host: None,
    ) -> socket.socket:
        """As `socket.create_connection`, after a `wait` for the host's turn, which no time-out counts.

        Raises `ForbiddenAddressError` where there is no address to connect to.
        """
        failure: OSError = ForbiddenAddressError(f"forbidden address: {address[0]}")
        for family, kind, protocol, _, place in socket.getaddrinfo(*address, type=socket.SOCK_STREAM):
            if not self.permits(str(place[0]), int(place[1])):
                continue
            wait(address[0])
            connection = socket.socket(family, kind, protocol)
            connection.settimeout(timeout if isinstance(timeout, int | float) else None)
            try:
                connection.connect(place)
            except OSError as error:
                connection.close()
                failure = error
                continue
            return connection
        raise failure

    def permits(self, address: str, port: int) -> bool:
        """Whether a numeric address is public, or allowed by name."""
        number = ip_address(address.partition("%")[0])
        inner = _inner(number)
        public = inner.is_global and not (inner.is_multicast or inner.is_reserved)
        return f"{inner}:{port}" in self.allowed or (
            public and inner not in _SITE_LOCAL and inner != _METADATA
        )


def _inner(address: Address) -> Address:
    """The IPv4 address that an IPv6 one stands for, if it does."""
    if isinstance(address, IPv4Address):
        return address
    teredo = address.teredo
    if address in _NAT64:
        return IPv4Address(int(address) & 0xFFFFFFFF)
    return address.ipv4_mapped or address.sixtofour or (teredo[1] if teredo else None) or address


class _Watch(threading.Thread):
    """Ends the connections whose time is over, whatever they are waiting for."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self._ends: dict[socket.socket, float] = {}
        self._lock = threading.Lock()

    def add(self, connection: socket.socket, seconds: float) -> None:
        with self._lock:
            self._ends[connection] = time.monotonic() + seconds

    def run(self) -> None:
        while True:
            time.sleep(_LOOK_SECONDS)
            now = time.monotonic()
            with self._lock:
                over = [one for one, end in self._ends.items() if end < now or one.fileno() < 0]
                for one in over:
                    del self._ends[one]
            for one in over:
                with suppress(OSError):  # it has ended by itself
                    one.shutdown(socket.SHUT_RDWR)


def install(guard: Guard, pace: Pace | None = None) -> None:
    """Have all of this process's `urllib.request.urlopen` guarded, and keep the pace."""
    Image.MAX_IMAGE_PIXELS = None  # this guard counts them itself
    watch = _Watch()
    watch.start()
    connect = partial(guard.connect, wait=pace.wait) if pace else guard.connect
    # One for all connections: each would read the certificates of all authorities anew, 25 ms of a core.
    tls = ssl.create_default_context()
    tls.set_alpn_protocols(["http/1.1"])
    opener = urllib.request.OpenerDirector()
    for handler in (
        _handler(
            urllib.request.HTTPHandler(),
            "http_open",
            _guarded(guard, connect, watch, http.client.HTTPConnection),
        ),
        _handler(
            urllib.request.HTTPSHandler(),
            "https_open",
            partial(_guarded(guard, connect, watch, http.client.HTTPSConnection), context=tls),
        ),
        urllib.request.HTTPDefaultErrorHandler(),
        urllib.request.HTTPRedirectHandler(),
        urllib.request.HTTPErrorProcessor(),
        urllib.request.UnknownHandler(),
    ):
        opener.add_handler(handler)
    urllib.request.install_opener(opener)


def _handler(handler: Any, method: str, connection: Callable) -> Any:
    """The handler of urllib's, with another kind of connection."""
    setattr(handler, method, lambda request: handler.do_open(connection, request))
    return handler


def _guarded(guard: Guard, connect: Callable, watch: _Watch, connection: type) -> type:
    """A kind of connection, guarded."""

    class Guarded(connection):  # type: ignore[misc, valid-type]
        response_class = _response(guard)

        def __init__(self, *arguments: object, **options: object) -> None:
            super().__init__(*arguments, **options)
            self._create_connection = connect

        def connect(self) -> None:
            super().connect()
            self.ends = time.monotonic() + guard.maximum_seconds
            watch.add(self.sock, guard.maximum_seconds)

        def getresponse(self) -> http.client.HTTPResponse:
            try:
                response = super().getresponse()
            except (OSError, http.client.HTTPException):
                _refuse_if_late(self.ends)
                raise
            if response.status in _NO_CONTENT:
                raise http.client.HTTPException(f"HTTP Error {response.status}: no whole answer")
            response.ends = self.ends  # type: ignore[attr-defined]
            return response

    return Guarded


def _refuse_if_late(ends: float) -> None:
    if time.monotonic() > ends:
        raise TimeoutError("answer too slow")


def _response(guard: Guard) -> type:
    class Guarded(http.client.HTTPResponse):
        ends = float("inf")

        def read(self, amount: int | None = None) -> bytes:
            """All of the answer, or an error as soon as it is too much."""
            if amount is not None:
                return super().read(amount)
            content = io.BytesIO()
            try:
                while piece := super().read(_CHUNK):
                    if content.tell() + len(piece) > guard.maximum_bytes:
                        raise TooLargeError(f"answer of more than {guard.maximum_bytes} bytes")
                    content.write(piece)
            finally:
                _refuse_if_late(self.ends)
            if self.length:
                raise http.client.IncompleteRead(b"", self.length)
            _refuse_bomb(content, guard.maximum_pixels)
            return content.getvalue()

    return Guarded


def _refuse_bomb(content: io.BytesIO, maximum_pixels: int) -> None:
    """Raise `TooLargeError` where an image's header tells of too many pixels; nothing is decoded."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with Image.open(content) as image:
                width, height = image.size
    except Exception:  # whatever a stranger's bytes do to a parser: the decoder will say that it is no image
        return
    if width * height > maximum_pixels:
        raise TooLargeError(f"image of {width} x {height} pixels")
