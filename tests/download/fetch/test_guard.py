"""SSRF guard and response limits."""

import json
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import asdict

import pytest

from cloob.download.fetch.guard import Guard
from tests.helpers.hostile_server import HostileServer, hostile_server
from tests.helpers.peak_memory import PEAK_KILOBYTES
from tests.helpers.recording_server import RecordingServer, guard_allowing, random_jpeg

PUBLIC = ["8.8.8.8", "1.1.1.1", "2600::", "::ffff:8.8.8.8", "64:ff9b::808:808"]
FORBIDDEN = [
    "127.0.0.1",
    "127.8.9.1",
    "0.0.0.0",
    "10.1.2.3",
    "172.16.0.1",
    "192.168.1.1",
    "169.254.169.254",
    "100.64.0.1",
    "168.63.129.16",
    "192.0.0.192",
    "::ffff:192.0.0.192",
    "224.0.0.1",
    "240.0.0.1",
    "255.255.255.255",
    "::",
    "::1",
    "fe80::1%eth0",
    "fc00::1",
    "fd00:ec2::254",
    "fec0::1",
    "ff02::1",
    "::ffff:127.0.0.1",
    "::ffff:169.254.169.254",
    "::127.0.0.1",
    "::ffff:0:127.0.0.1",
    "64:ff9b::7f00:1",
    "64:ff9b:1::7f00:1",
    "2002:7f00:1::",
    "2001:db8::1",
]


@pytest.mark.parametrize("address", PUBLIC)
def test_public_addresses_are_allowed(address: str) -> None:
    assert guard_allowing().is_allowed(address, 80)


@pytest.mark.parametrize("address", FORBIDDEN)
def test_non_public_addresses_are_forbidden(address: str) -> None:
    assert not guard_allowing().is_allowed(address, 80)


def test_an_allowed_address_covers_a_single_port() -> None:
    guard = Guard(("127.0.0.1:8000",), 1, 1, 1)
    assert guard.is_allowed("127.0.0.1", 8000)
    assert guard.is_allowed("::ffff:127.0.0.1", 8000)
    assert not guard.is_allowed("127.0.0.1", 8001)
    assert not guard.is_allowed("127.0.0.2", 8000)


REQUEST = """
import json, sys, time, urllib.request
from cloob.download.fetch.guard import Guard, install
install(Guard(**json.loads(sys.argv[1])))
before, start = peak_kilobytes(), time.monotonic()
try:
    with urllib.request.urlopen(sys.argv[2], timeout=2) as response:
        result = f"{len(response.read())} bytes"
except Exception as error:
    result = str(error)
megabytes = (peak_kilobytes() - before) / 1000
print(json.dumps([result, time.monotonic() - start, megabytes]))
"""


def request(url: str, guard: Guard) -> tuple[str, float, float]:
    """Result of a guarded request, its duration in seconds, and the additional memory in MB."""
    command = [sys.executable, "-c", PEAK_KILOBYTES + REQUEST, json.dumps(asdict(guard)), url]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return tuple(json.loads(done.stdout))


@pytest.fixture
def forbidden(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RecordingServer]:
    """A server on this machine that must not be contacted."""
    with RecordingServer(tmp_path_factory.mktemp("forbidden")) as server:
        (server.root / "secret.jpg").write_bytes(random_jpeg(1))
        yield server


@pytest.mark.parametrize(
    "host", ["127.0.0.1", "localhost", "127.1", "2130706433", "0x7f000001", "[::ffff:127.0.0.1]", "0.0.0.0"]
)
def test_no_spelling_of_a_host_reaches_this_machine(forbidden: RecordingServer, host: str) -> None:
    result, _, _ = request(f"http://{host}:{forbidden.server_address[1]}/secret.jpg", guard_allowing())
    assert "forbidden address" in result
    assert forbidden.requests == []


@pytest.mark.parametrize(
    "url", ["file:///etc/passwd", "ftp://127.0.0.1/x", "data:text/plain,x", "gopher://x/"]
)
def test_schemes_other_than_http_and_https_are_not_supported(url: str) -> None:
    assert "unknown url type" in request(url, guard_allowing())[0]


REQUEST_OVER_TLS = """
import json, ssl, sys, urllib.request
from cloob.download.fetch.guard import Guard, install
loaded, load = [], ssl.SSLContext.load_default_certs
ssl.SSLContext.load_default_certs = lambda self, *arguments: loaded.append(load(self, *arguments))
install(Guard(**json.loads(sys.argv[1])))
for url in sys.argv[2:]:
    try:
        urllib.request.urlopen(url, timeout=2)
    except Exception as error:
        print(error)
print(len(loaded))
"""


def test_tls_connections_are_guarded_and_load_the_ca_certificates_once(
    website: RecordingServer, forbidden: RecordingServer
) -> None:
    urls = [server.url.replace("http:", "https:") for server in (website, website, forbidden)]
    command = [sys.executable, "-c", REQUEST_OVER_TLS, json.dumps(asdict(guard_allowing(website))), *urls]
    *errors, loads = subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()
    assert all("SSL" in error for error in errors[:2]) and "forbidden address" in errors[2]
    assert int(loads) == 1


@pytest.fixture(scope="module")
def hostile() -> Iterator[HostileServer]:
    with hostile_server() as server:
        yield server


def test_a_redirect_to_a_forbidden_address_is_not_followed(
    hostile: HostileServer, forbidden: RecordingServer
) -> None:
    url = f"http://127.0.0.1:{hostile.server_address[1]}/redirect"
    for host in ("127.0.0.1", "localhost"):
        hostile.target = f"http://{host}:{forbidden.server_address[1]}/secret.jpg"
        assert "forbidden address" in request(url, guard_allowing(hostile))[0]
    hostile.target = "file:///etc/passwd"
    assert "bytes" not in request(url, guard_allowing(hostile))[0]
    assert forbidden.requests == []


@pytest.mark.parametrize(
    ("path", "error"),
    [
        ("endless", "response of more than 10000000 bytes"),
        ("dripping", "response too slow"),
        ("headers", "response too slow"),
        ("pixel_bomb", "image of 30000 x 30000 pixels"),
        ("chunk_size_minus_one", "response of more than 10000000 bytes"),
        ("chunk_size_negative", "response of more than 10000000 bytes"),
        ("chunk_size_int64_max", "response of more than 10000000 bytes"),
        ("chunk_size_of_many_digits", "response of more than 10000000 bytes"),
        ("chunk_size_empty", "IncompleteRead"),
        ("chunk_extensions", "response of more than 10000000 bytes"),
        ("trailers", "response of more than 10000000 bytes"),
        ("interim", "response of more than 10000000 bytes"),
        ("redirect_with_body", "response of more than 10000000 bytes"),
        ("slow_redirects", "response too slow"),
        ("dripping_chunks", "response too slow"),
        ("dripping_trailers", "response too slow"),
    ],
)
def test_a_response_over_a_limit_is_aborted_early(hostile: HostileServer, path: str, error: str) -> None:
    url = f"http://127.0.0.1:{hostile.server_address[1]}/{path}"
    result, seconds, megabytes = request(url, guard_allowing(hostile, max_seconds=2.0))
    assert error in result
    assert seconds < 5
    assert megabytes < 60
