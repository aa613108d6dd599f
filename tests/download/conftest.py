"""A local web server for the tests of the download stage."""

from collections.abc import Iterator

import pytest

from tests.helpers.recording_server import RecordingServer


@pytest.fixture(scope="module")
def website(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RecordingServer]:
    """A server on a free loopback port, shared by a module's tests; it serves the files in its `root`."""
    with RecordingServer(tmp_path_factory.mktemp("www")) as server:
        yield server


@pytest.fixture(autouse=True, scope="module")
def _no_proxy() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("no_proxy", "127.0.0.1")
        yield
