"""SSRF guard and response limits: the URLs come from untrusted lists.

img2dataset calls `urllib.request.urlopen`, follows redirects, accepts any scheme, and reads and decodes every
response. `install` gives the process an opener that supports only http and https and connects only to public
addresses. The address is checked when the connection is made, so literal addresses, host names, redirects and
DNS rebinding are all covered. No proxy is used, because the address behind it could not be checked.
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
from cloob.download.fetch.rate_limit import HostRateLimiter
from cloob.images.decoding import FORMATS
from cloob.images.structure import complexity_violation

_NAT64 = ip_network("64:ff9b::/96")
_SITE_LOCAL = ip_network("fec0::/10")  # deprecated, and not global
# Not global, although Python before 3.11.10 and 3.12.4 says so; Oracle's cloud has an internal service in it.
_PROTOCOL_ASSIGNMENTS = ip_network("192.0.0.0/24")
_AZURE_METADATA = ip_address("168.63.129.16")  # internal service at an address that looks public
# 2xx statuses without a complete image; kept images always have status 200.
_NO_CONTENT = range(201, 300)
Address = IPv4Address | IPv6Address


class ForbiddenAddressError(OSError):
    """All addresses of a host are forbidden."""


@dataclass(frozen=True)
class Guard:
    """Limits of a request; `allowed_addresses` (`IP:port`) may be contacted although they are not public."""

    allowed_addresses: tuple[str, ...]
    max_bytes: int
    max_pixels: int
    max_seconds: float  # of a response including redirects, from the connection on

    def budget(self) -> Budget:
        """The bytes and seconds that one request may use."""
        return Budget(self.max_bytes, self.max_seconds, max_body_bytes=self.max_bytes)

    def connect(
        self,
        address: tuple[str, int],
        timeout: float | None = None,
        *_ignored: object,
        wait: Callable[[str], None] = lambda host: None,
    ) -> socket.socket:
        """Like `socket.create_connection`, after `wait(host)`, which does not count towards `timeout`.

        Raises `ForbiddenAddressError` if the host has no allowed address.
        """
        failure: OSError = ForbiddenAddressError(f"forbidden address: {address[0]}")
        seconds = 0.0
        for family, kind, protocol, _name, peer in socket.getaddrinfo(*address, type=socket.SOCK_STREAM):
            if not self.is_allowed(str(peer[0]), int(peer[1])):
                continue
            wait(address[0])
            connection = socket.socket(family, kind, protocol)
            connection.settimeout(timeout if isinstance(timeout, int | float) else None)
            start = time.monotonic()
            try:
                connection.connect(peer)
                return connection
            except OSError as error:
                connection.close()
                failure = error
            seconds += time.monotonic() - start
            if seconds > self.max_seconds:  # a name may resolve to thousands of addresses
                break
        raise failure

    def is_allowed(self, address: str, port: int) -> bool:
        """Whether a numeric address is public or in `allowed_addresses`."""
        target = _embedded_ipv4(ip_address(address.partition("%")[0]))
        is_public = target.is_global and not (target.is_multicast or target.is_reserved)
        return f"{target}:{port}" in self.allowed_addresses or (
            is_public
            and target not in _SITE_LOCAL
            and target not in _PROTOCOL_ASSIGNMENTS
            and target != _AZURE_METADATA
        )


def _embedded_ipv4(address: Address) -> Address:
    """The IPv4 address that an IPv6 address maps or tunnels to, or else the address itself."""
    if isinstance(address, IPv4Address):
        return address
    teredo = address.teredo
    if address in _NAT64:
        return IPv4Address(int(address) & 0xFFFFFFFF)
    return address.ipv4_mapped or address.sixtofour or (teredo[1] if teredo else None) or address


def install(guard: Guard, rate_limiter: HostRateLimiter | None = None) -> None:
    """Guard and rate-limit every `urllib.request.urlopen` of this process."""
    Image.MAX_IMAGE_PIXELS = None  # the guard checks the number of pixels itself
    connect = partial(guard.connect, wait=rate_limiter.wait) if rate_limiter else guard.connect
    # One context for all connections: loading the CA certificates takes 25 ms of CPU time.
    tls = ssl.create_default_context()
    tls.set_alpn_protocols(["http/1.1"])
    response = _guarded_response(guard.max_pixels)
    urllib.request.install_opener(bounded_opener(guard.budget, response, connect, tls, proxies=False))


def _guarded_response(max_pixels: int) -> type[BoundedResponse]:
    class GuardedResponse(BoundedResponse):
        def begin(self) -> None:
            try:
                super().begin()
            except http.client.RemoteDisconnected:
                raise
            except (http.client.BadStatusLine, http.client.UnknownProtocol):
                # Their message is what the server sent, but outcomes are derived from messages.
                raise http.client.HTTPException("invalid status line") from None
            if self.status in _NO_CONTENT:
                raise http.client.HTTPException(f"HTTP Error {self.status}: incomplete response")

        def read(self, amount: int | None = None) -> bytes:
            """The whole response, or an error as soon as a limit is exceeded."""
            content = super().read(amount)
            if amount is None:
                _check_pixels(content, max_pixels)
            return content

    return GuardedResponse


def _check_pixels(content: bytes, max_pixels: int) -> None:
    """Raise `TooLargeError` if the image header declares too many pixels; nothing is decoded."""
    if complexity_violation(content):  # rejected by the decoder; parsing even the header might take long
        return
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with Image.open(io.BytesIO(content), formats=FORMATS) as image:
                width, height = image.size
    except Exception:  # untrusted bytes may raise anything; the decoder will reject them as no image
        return
    if width * height > max_pixels:
        raise TooLargeError(f"image of {width} x {height} pixels")
