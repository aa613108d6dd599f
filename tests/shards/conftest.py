"""What a real fetch by img2dataset leaves, for all tests of this folder."""

import io
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from cloob.download.cc import read_cc
from cloob.download.fetch import Effort, Images, fetch
from cloob.download.guard import Guard
from cloob.world.server import WorldServer

ROWS = 23


def caption(number: int) -> str:
    """The caption of a row of the list (0-based)."""
    return f"picture {number} of „Köln“"


@pytest.fixture(scope="session")
def real_fetch(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with `images/` (23 images, one link dead) and `images_fates.csv`; not to be changed."""
    folder = tmp_path_factory.mktemp("real_fetch")
    www = folder / "www"
    www.mkdir()
    with WorldServer(www, port=0) as server, pytest.MonkeyPatch.context() as patch:
        patch.setenv("no_proxy", "127.0.0.1")
        address = f"http://127.0.0.1:{server.server_address[1]}"
        rows = [f"{caption(number)}\t{address}/{number}.jpg" for number in range(ROWS)]
        for number in range(ROWS):
            (www / f"{number}.jpg").write_bytes(_jpeg(number))
        rows.append(f"gone\t{address}/gone.jpg")
        (folder / "list.tsv").write_text("\n".join(rows) + "\n", encoding="utf-8")
        read_cc(folder / "list.tsv", folder / "links.parquet", folder / "links_fates.csv")
        fetch(
            folder / "links.parquet",
            folder / "images",
            folder / "images_fates.csv",
            Images(
                image_size=512, quality=95, maximum_aspect_ratio=3.0, minimum_size=16, samples_per_shard=16
            ),
            Effort(timeout=5, retries=0, processes=1, threads=8),
            Guard((address.removeprefix("http://"),), 10_000_000, 10_000_000, 60),
        )
    return folder


@pytest.fixture
def fetched_folder(real_fetch: Path, tmp_path: Path) -> Path:
    """A copy of the fetch that a test may damage."""
    return Path(shutil.copytree(real_fetch, tmp_path / "fetch"))


def _jpeg(number: int) -> bytes:
    mode, shape = [("RGB", (40, 60, 3)), ("L", (40, 60)), ("CMYK", (50, 40, 4))][number % 3]
    pixels = np.random.default_rng(number).integers(0, 255, shape, dtype=np.uint8)
    content = io.BytesIO()
    Image.fromarray(pixels, mode=mode).save(content, "JPEG")
    return content.getvalue()
