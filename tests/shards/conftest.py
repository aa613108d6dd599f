"""A small download, for all tests of this folder."""

from pathlib import Path

import pytest

from tests.helpers.downloaded_parts import ROWS, Row, caption, leave_download
from tests.helpers.sample_images import jpeg


@pytest.fixture
def download(tmp_path: Path) -> tuple[list[Path], Path]:
    """Ledgers and links of 23 images in two parts, one link dead."""
    rows: list[Row] = [
        (caption(number), jpeg(number, mode="L" if number % 3 else "RGB", width=40 + number))
        for number in range(ROWS)
    ]
    rows.insert(5, ("gone", "http_404"))
    return leave_download(tmp_path / "download", rows)
