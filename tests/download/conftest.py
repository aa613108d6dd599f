"""A web server on the loopback, for every test module that asks for it."""

from collections.abc import Iterator

import pytest

from tests.helpers.served_parts import RememberingServer


@pytest.fixture(scope="module")
def website(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RememberingServer]:
    """A server on a free loopback port; put files into its `root`."""
    with RememberingServer(tmp_path_factory.mktemp("www")) as server:
        yield server


@pytest.fixture(autouse=True, scope="module")
def _no_proxy() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("no_proxy", "127.0.0.1")
        yield
