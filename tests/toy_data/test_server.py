import http.client
import socket
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from cloob.toy_data.server import WorldServer


@pytest.fixture
def server(tmp_path: Path) -> Iterator[WorldServer]:
    (tmp_path / "secret.txt").write_text("secret")
    with WorldServer(tmp_path / "www", port=0) as running:
        (tmp_path / "www" / "cc3m").mkdir(parents=True)
        (tmp_path / "www" / "cc3m" / "a b.jpg").write_bytes(b"\xff\xd8picture")
        yield running


def get(server: WorldServer, path: str) -> http.client.HTTPResponse:
    """One plain request: no redirect is followed, no path tidied."""
    connection = http.client.HTTPConnection("127.0.0.1", server.server_port, timeout=5)
    connection.request("GET", path)
    answer = connection.getresponse()
    answer.body = answer.read()
    connection.close()
    return answer


def link(server: WorldServer, path: str) -> str:
    return f"http://127.0.0.1:{server.server_port}/{path}"


def test_a_file_that_came_after_the_server_is_served_as_what_it_is(server: WorldServer) -> None:
    answer = get(server, "/cc3m/a%20b.jpg?w=300")
    assert (answer.status, answer.version, answer.body) == (200, 11, b"\xff\xd8picture")
    assert answer.headers["Content-Type"] == "image/jpeg"
    (server.root / "page.jpg").write_bytes(b"<!DOCTYPE html>")
    assert get(server, "/page.jpg").headers["Content-Type"].startswith("text/html")


def test_what_is_not_there_is_not_found(server: WorldServer) -> None:
    assert get(server, "/cc3m/none.jpg").status == 404
    assert get(server, "/cc3m").status == 404


@pytest.mark.parametrize(
    "path", ["/../secret.txt", "/cc3m/../../secret.txt", "/%2e%2e/secret.txt", "//secret.txt", "/a%00b"]
)
def test_nothing_outside_the_folder_is_given_away(server: WorldServer, path: str) -> None:
    assert get(server, path).status == 404


def test_a_redirect_leads_to_the_picture(server: WorldServer) -> None:
    with urllib.request.urlopen(link(server, "redirect/cc3m/a%20b.jpg"), timeout=5) as answer:
        assert answer.read() == b"\xff\xd8picture"


def test_a_redirect_loop_has_no_end(server: WorldServer) -> None:
    with pytest.raises(urllib.error.HTTPError, match="redirect") as caught:
        urllib.request.urlopen(link(server, "loop/1"), timeout=5)
    caught.value.close()


def test_a_connection_is_kept_for_the_next_request(server: WorldServer) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", server.server_port, timeout=5)
    began = time.monotonic()
    for _ in range(50):
        connection.request("GET", "/cc3m/a%20b.jpg")
        assert connection.getresponse().read() == b"\xff\xd8picture"
    connection.close()
    assert time.monotonic() - began < 1.0


def test_a_hundred_clients_at_once_are_all_answered(server: WorldServer) -> None:
    with ThreadPoolExecutor(100) as clients:
        answers = list(clients.map(lambda _: get(server, "/cc3m/a%20b.jpg").status, range(400)))
    assert answers == [200] * 400


def test_a_stalled_client_waits_for_itself_and_goes_when_the_server_does(tmp_path: Path) -> None:
    with WorldServer(tmp_path, port=0) as server:
        with socket.create_connection(("127.0.0.1", server.server_port), timeout=0.3) as client:
            client.sendall(b"GET /stall/x.jpg HTTP/1.1\r\nHost: world\r\n\r\n")
            with pytest.raises(TimeoutError):
                client.recv(1)
        waiting = socket.create_connection(("127.0.0.1", server.server_port), timeout=5)
        waiting.sendall(b"GET /stall/x.jpg HTTP/1.1\r\nHost: world\r\n\r\n")
        threading.Timer(0.2, server.stopping.set).start()
        assert waiting.recv(1) == b""
        waiting.close()


def test_the_port_is_free_again_afterwards(tmp_path: Path) -> None:
    with WorldServer(tmp_path, port=0) as first:
        port = first.server_port
    with WorldServer(tmp_path, port=port) as second:
        assert second.server_port == port
