"""A small download for the tests of this folder."""

from pathlib import Path

import pytest

from tests.helpers.downloaded_parts import NUM_IMAGES, UrlRow, caption, write_download
from tests.helpers.sample_images import jpeg


@pytest.fixture
def download(tmp_path: Path) -> tuple[list[Path], Path]:
    """Ledgers and URL table of 23 images in two parts; row 6 is a failed download."""
    rows: list[UrlRow] = [
        (caption(number), jpeg(number, mode="L" if number % 3 else "RGB", width=40 + number))
        for number in range(NUM_IMAGES)
    ]
    rows.insert(5, ("gone", "http_404"))
    return write_download(tmp_path / "download", rows)
