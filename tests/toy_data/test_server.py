"""The web server of the toy dataset: files, redirects, stalled and persistent connections."""

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

from cloob.toy_data.server import ToyDataServer


@pytest.fixture
def server(tmp_path: Path) -> Iterator[ToyDataServer]:
    (tmp_path / "secret.txt").write_text("secret")
    with ToyDataServer(tmp_path / "www", port=0) as running:
        (tmp_path / "www" / "cc3m").mkdir(parents=True)
        (tmp_path / "www" / "cc3m" / "a b.jpg").write_bytes(b"\xff\xd8image")
        yield running


def get(server: ToyDataServer, path: str) -> http.client.HTTPResponse:
    """A request that neither follows redirects nor normalizes the path."""
    connection = http.client.HTTPConnection("127.0.0.1", server.server_port, timeout=5)
    connection.request("GET", path)
    response = connection.getresponse()
    response.body = response.read()
    connection.close()
    return response


def url(server: ToyDataServer, path: str) -> str:
    return f"http://127.0.0.1:{server.server_port}/{path}"


def test_files_created_after_the_start_are_served_with_the_content_type_of_their_bytes(
    server: ToyDataServer,
) -> None:
    response = get(server, "/cc3m/a%20b.jpg?w=300")
    assert (response.status, response.version, response.body) == (200, 11, b"\xff\xd8image")
    assert response.headers["Content-Type"] == "image/jpeg"
    (server.root / "page.jpg").write_bytes(b"<!DOCTYPE html>")
    assert get(server, "/page.jpg").headers["Content-Type"].startswith("text/html")


def test_missing_files_and_folders_are_not_found(server: ToyDataServer) -> None:
    assert get(server, "/cc3m/none.jpg").status == 404
    assert get(server, "/cc3m").status == 404


@pytest.mark.parametrize(
    "path", ["/../secret.txt", "/cc3m/../../secret.txt", "/%2e%2e/secret.txt", "//secret.txt", "/a%00b"]
)
def test_files_outside_the_folder_are_not_served(server: ToyDataServer, path: str) -> None:
    assert get(server, path).status == 404


def test_redirect_paths_redirect_to_the_image(server: ToyDataServer) -> None:
    with urllib.request.urlopen(url(server, "redirect/cc3m/a%20b.jpg"), timeout=5) as response:
        assert response.read() == b"\xff\xd8image"


def test_loop_paths_redirect_forever(server: ToyDataServer) -> None:
    with pytest.raises(urllib.error.HTTPError, match="redirect") as caught:
        urllib.request.urlopen(url(server, "loop/1"), timeout=5)
    caught.value.close()


def test_connections_are_persistent(server: ToyDataServer) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", server.server_port, timeout=5)
    started = time.monotonic()
    for _ in range(50):
        connection.request("GET", "/cc3m/a%20b.jpg")
        assert connection.getresponse().read() == b"\xff\xd8image"
    connection.close()
    assert time.monotonic() - started < 1.0


def test_a_hundred_concurrent_clients_are_served(server: ToyDataServer) -> None:
    with ThreadPoolExecutor(100) as clients:
        statuses = list(clients.map(lambda _: get(server, "/cc3m/a%20b.jpg").status, range(400)))
    assert statuses == [200] * 400


def test_stall_paths_never_respond_and_close_when_the_server_stops(tmp_path: Path) -> None:
    with ToyDataServer(tmp_path, port=0) as server:
        with socket.create_connection(("127.0.0.1", server.server_port), timeout=0.3) as client:
            client.sendall(b"GET /stall/x.jpg HTTP/1.1\r\nHost: toy\r\n\r\n")
            with pytest.raises(TimeoutError):
                client.recv(1)
        waiting = socket.create_connection(("127.0.0.1", server.server_port), timeout=5)
        waiting.sendall(b"GET /stall/x.jpg HTTP/1.1\r\nHost: toy\r\n\r\n")
        threading.Timer(0.2, server.stopping.set).start()
        assert waiting.recv(1) == b""
        waiting.close()


def test_the_port_is_released_at_the_end(tmp_path: Path) -> None:
    with ToyDataServer(tmp_path, port=0) as first:
        port = first.server_port
    with ToyDataServer(tmp_path, port=port) as second:
        assert second.server_port == port
