"""No stranger sends us where he likes, nor keeps us for as long, or with as much, as he likes."""

import json
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import asdict

import pytest

from cloob.download.fetch.guard import Guard
from tests.helpers.hostile_server import Rogue, rogue_server
from tests.helpers.served_parts import RememberingServer, guard, jpeg

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


@pytest.mark.parametrize("url", PUBLIC)
def test_public_addresses_are_permitted(address: str):
    assert guard().permits(address, 80)


@pytest.mark.parametrize("url", FORBIDDEN)
def test_all_others_are_not(address: str):
    assert not guard().permits(address, 80)


def test_an_allowed_address_is_one_port():
    one = Guard(("127.0.0.1:8000",), 1, 1, 1)
    assert one.permits("127.0.0.1", 8000)
    assert one.permits("::ffff:127.0.0.1", 8000)
    assert not one.permits("127.0.0.1", 8001)
    assert not one.permits("127.0.0.2", 8000)


ASK = """
import json, resource, sys, time, urllib.request
from cloob.download.fetch.guard import Guard, install
install(Guard(**json.loads(sys.argv[1])))
before, begun = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.monotonic()
try:
    with urllib.request.urlopen(sys.argv[2], timeout=2) as answer:
        said = f"{len(answer.read())} bytes"
except Exception as error:
    said = str(error)
megabytes = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1000
print(json.dumps([said, time.monotonic() - begun, megabytes]))
"""


def ask(link: str, one: Guard) -> tuple[str, float, float]:
    """What came of it, in how many seconds, for how many MB more."""
    command = [sys.executable, "-c", ASK, json.dumps(asdict(one)), link]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return tuple(json.loads(done.stdout))


@pytest.fixture
def forbidden(tmp_path_factory) -> Iterator[RememberingServer]:
    """A server on this machine that no link may reach, with something to steal."""
    with RememberingServer(tmp_path_factory.mktemp("forbidden")) as server:
        (server.root / "secret.jpg").write_bytes(jpeg(1))
        yield server


@pytest.mark.parametrize(
    "host", ["127.0.0.1", "localhost", "127.1", "2130706433", "0x7f000001", "[::ffff:127.0.0.1]", "0.0.0.0"]
)
def test_nothing_reaches_this_machine_by_any_spelling(forbidden: RememberingServer, host: str):
    said, _, _ = ask(f"http://{host}:{forbidden.server_address[1]}/secret.jpg", guard())
    assert "forbidden address" in said
    assert forbidden.asked == []


@pytest.mark.parametrize(
    "link", ["file:///etc/passwd", "ftp://127.0.0.1/x", "data:text/plain,x", "gopher://x/"]
)
def test_other_schemes_are_not_spoken(link: str):
    assert "unknown url type" in ask(link, guard())[0]


OVER_TLS = """
import json, ssl, sys, urllib.request
from cloob.download.fetch.guard import Guard, install
loaded, load = [], ssl.SSLContext.load_default_certs
ssl.SSLContext.load_default_certs = lambda self, *given: loaded.append(load(self, *given))
install(Guard(**json.loads(sys.argv[1])))
for link in sys.argv[2:]:
    try:
        urllib.request.urlopen(link, timeout=2)
    except Exception as error:
        print(error)
print(len(loaded))
"""


def test_tls_is_guarded_and_reads_the_authorities_once(
    website: RememberingServer, forbidden: RememberingServer
):
    links = [server.address.replace("http:", "https:") for server in (website, website, forbidden)]
    command = [sys.executable, "-c", OVER_TLS, json.dumps(asdict(guard(website))), *links]
    *said, loaded = subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()
    assert all("SSL" in one for one in said[:2]) and "forbidden address" in said[2]
    assert int(loaded) == 1


@pytest.fixture(scope="module")
def rogue() -> Iterator[Rogue]:
    with rogue_server() as server:
        yield server


def test_a_redirect_leads_to_nothing_forbidden(rogue: Rogue, forbidden: RememberingServer):
    for host in ("127.0.0.1", "localhost"):
        rogue.target = f"http://{host}:{forbidden.server_address[1]}/secret.jpg"
        assert (
            "forbidden address"
            in ask(f"http://127.0.0.1:{rogue.server_address[1]}/redirect", guard(rogue))[0]
        )
    rogue.target = "file:///etc/passwd"
    assert "bytes" not in ask(f"http://127.0.0.1:{rogue.server_address[1]}/redirect", guard(rogue))[0]
    assert forbidden.asked == []


@pytest.mark.parametrize(
    ("what", "said"),
    [
        ("endless", "response of more than 10000000 bytes"),
        ("dripping", "response too slow"),
        ("headers", "response too slow"),
        ("bomb", "image of 30000 x 30000 pixels"),
        ("chunk_to_the_end", "response of more than 10000000 bytes"),
        ("chunk_below_zero", "response of more than 10000000 bytes"),
        ("chunk_of_all", "response of more than 10000000 bytes"),
        ("chunk_of_many_digits", "response of more than 10000000 bytes"),
        ("chunk_without_size", "IncompleteRead"),
        ("chunk_with_extensions", "response of more than 10000000 bytes"),
        ("trailers", "response of more than 10000000 bytes"),
        ("interim", "response of more than 10000000 bytes"),
        ("redirect_with_body", "response of more than 10000000 bytes"),
        ("slow_redirects", "response too slow"),
        ("dripping_chunks", "response too slow"),
        ("dripping_trailers", "response too slow"),
    ],
)
def test_what_costs_too_much_is_cut_off(rogue: Rogue, what: str, said: str):
    link = f"http://127.0.0.1:{rogue.server_address[1]}/{what}"
    found, seconds, megabytes = ask(link, guard(rogue, max_seconds=2.0))
    assert said in found
    assert seconds < 5
    assert megabytes < 60
