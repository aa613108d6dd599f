"""What a link shows is what is kept of it, however its file is coded."""

import io

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import ExifTags, Image, ImageOps
from served import RememberingServer, guard

from cloob.download.fetch import fetch
from cloob.download.round import Effort, Images

IMAGES = Images(64, 95, 3.0, 16, links_per_tar=10)
EFFORT = Effort("cloob-tests", 1000, 5, 0, rounds=1, seconds_between_rounds=0, processes=1, threads=4)
DARK, BRIGHT = 40, 200


def half_dark(width: int, height: int) -> Image.Image:
    """Dark above, bright below."""
    pixels = np.full((height, width), BRIGHT, np.uint8)
    pixels[: height // 2] = DARK
    return Image.fromarray(pixels)


def on_its_side(width: int, height: int) -> bytes:
    """A JPEG of width × height pixels that its EXIF turns upright."""
    exif, content = Image.Exif(), io.BytesIO()
    exif[ExifTags.Base.Orientation] = 6
    half_dark(height, width).rotate(90, expand=True).save(content, "JPEG", exif=exif, quality=95)
    return content.getvalue()


def of_16_bits(width: int, height: int) -> bytes:
    """A grey PNG."""
    content = io.BytesIO()
    Image.fromarray(np.asarray(half_dark(width, height)).astype(np.uint16) * 257).save(content, "PNG")
    return content.getvalue()


@pytest.fixture(scope="module")
def seen(website: RememberingServer, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Image.Image]:
    """The images kept of some links, upright."""
    files = {
        "turned_fits": on_its_side(60, 40),
        "turned_large": on_its_side(120, 80),
        "deep_fits": of_16_bits(40, 60),
        "deep_large": of_16_bits(80, 120),
    }
    for name, content in files.items():
        (website.root / name).write_bytes(content)
    folder = tmp_path_factory.mktemp("pixels")
    table = {"uid": list(files), "url": [f"{website.address}/{name}" for name in files]}
    pq.write_table(pa.table(table), folder / "links.parquet")
    ledger = folder / "0_ledger.parquet"
    fetch(folder / "links.parquet", 0, 1, folder / "0", ledger, IMAGES, EFFORT, guard(website))
    images = {}
    for row in pq.read_table(ledger).to_pylist():
        assert row["fate"] == "kept", row
        content = (folder / row["tar"]).read_bytes()[row["offset"] :][: row["length"]]
        images[row["uid"]] = ImageOps.exif_transpose(Image.open(io.BytesIO(content))).convert("L")
    return images


@pytest.mark.parametrize("name", ["turned_fits", "turned_large", "deep_fits", "deep_large"])
def test_it_lies_upright_with_its_own_shades(seen: dict[str, Image.Image], name: str) -> None:
    image = seen[name]
    assert image.size == ((40, 60) if name.endswith("fits") else (43, 64))
    pixels = np.asarray(image).astype(float)
    third = len(pixels) // 3
    assert np.abs(pixels[:third] - DARK).max() < 8
    assert np.abs(pixels[-third:] - BRIGHT).max() < 8
