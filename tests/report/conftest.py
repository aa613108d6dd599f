"""Fixtures for tests of the report: its command line."""

from collections.abc import Callable

import pytest

from cloob.cli import main

TITLE_SUFFIX = "Toy dataset: not the paper's figures"
TITLES = ["--corpus-title=cc3m=Conceptual Captions", "--corpus-title=yfcc15m=YFCC"]


@pytest.fixture
def report() -> Callable[..., int]:
    """Run `cloob report …` as the pipeline does; returns the exit status."""

    def run(*arguments: object) -> int:
        with pytest.raises(SystemExit) as exit_info:
            main(["report", *map(str, arguments), "--title-suffix", TITLE_SUFFIX, *TITLES])
        return exit_info.value.code

    return run
