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
import time
import urllib.request
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network

from PIL import Image

from cloob.common.bounded_http import BoundedResponse, Budget, TooLargeError, bounded_opener
from cloob.download.fetch.rate_limit import Pace
from cloob.images.decoding import FORMATS
from cloob.images.structure import complexity_violation

_NAT64 = ip_network("64:ff9b::/96")
_SITE_LOCAL = ip_network("fec0::/10")  # out of use, and not global
_METADATA = ip_address("168.63.129.16")  # of Azure's machines, at an address that looks public
# Successes of HTTP that bring no image, or not all of it: of all that is kept the status is 200.
_NO_CONTENT = range(201, 300)
Address = IPv4Address | IPv6Address


class ForbiddenAddressError(OSError):
    """All addresses of a host are such as no stranger may send us to."""


@dataclass(frozen=True)
class Guard:
    """`allowed` are the addresses (`IP:port`) that may be reached though they are not public."""

    allowed: tuple[str, ...]
    max_bytes: int
    max_pixels: int
    max_seconds: float  # of an answer and the redirects to it, from the connection on

    def budget(self) -> Budget:
        """What a request may cost."""
        return Budget(self.max_bytes, self.max_seconds, at_once=self.max_bytes)

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
        seconds = 0.0
        for family, kind, protocol, _, place in socket.getaddrinfo(*address, type=socket.SOCK_STREAM):
            if not self.permits(str(place[0]), int(place[1])):
                continue
            wait(address[0])
            connection = socket.socket(family, kind, protocol)
            connection.settimeout(timeout if isinstance(timeout, int | float) else None)
            begun = time.monotonic()
            try:
                connection.connect(place)
                return connection
            except OSError as error:
                connection.close()
                failure = error
            seconds += time.monotonic() - begun
            if seconds > self.max_seconds:  # a name may have thousands of addresses
                break
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


def install(guard: Guard, pace: Pace | None = None) -> None:
    """Have all of this process's `urllib.request.urlopen` guarded, and keep the pace."""
    Image.MAX_IMAGE_PIXELS = None  # this guard counts them itself
    connect = partial(guard.connect, wait=pace.wait) if pace else guard.connect
    # One for all connections: each would read the certificates of all authorities anew, 25 ms of a core.
    tls = ssl.create_default_context()
    tls.set_alpn_protocols(["http/1.1"])
    response = _response(guard.max_pixels)
    urllib.request.install_opener(bounded_opener(guard.budget, response, connect, tls, proxies=False))


def _response(max_pixels: int) -> type[BoundedResponse]:
    class Guarded(BoundedResponse):
        def begin(self) -> None:
            super().begin()
            if self.status in _NO_CONTENT:
                raise http.client.HTTPException(f"HTTP Error {self.status}: no whole answer")

        def read(self, amount: int | None = None) -> bytes:
            """All of the answer, or an error as soon as it is too much."""
            content = super().read(amount)
            if amount is None:
                _refuse_bomb(content, max_pixels)
            return content

    return Guarded


def _refuse_bomb(content: bytes, max_pixels: int) -> None:
    """Raise `TooLargeError` where an image's header tells of too many pixels; nothing is decoded."""
    if complexity_violation(content):  # which the decoder refuses; here even the header might take long
        return
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with Image.open(io.BytesIO(content), formats=FORMATS) as image:
                width, height = image.size
    except Exception:  # whatever a stranger's bytes do to a parser: the decoder will say that it is no image
        return
    if width * height > max_pixels:
        raise TooLargeError(f"image of {width} x {height} pixels")
