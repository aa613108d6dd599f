"""What img2dataset really fetches, packed: every picture lies as it is to be seen."""

import io
from pathlib import Path

import numpy as np
import pytest
from packing import RULES, by_caption, fates_of, pack_download
from pictures import ORIENTATION, encoded, jpeg, noise
from PIL import Image
from served import RememberingServer, guard

from cloob.download.cc import read_cc
from cloob.download.fetch import fetch
from cloob.download.round import Effort, Images
from cloob.shards.verify import verify

EFFORT = Effort(
    user_agent="cloob-tests",
    requests_per_second=1000,
    timeout=5,
    retries=0,
    rounds=1,
    seconds_between_rounds=0,
    processes=1,
    threads=8,
)
IMAGES = Images(image_size=256, quality=95, maximum_aspect_ratio=3.0, minimum_size=16, links_per_tar=100)


def turned(width: int, height: int) -> tuple[bytes, Image.Image]:
    """A JPEG that lies on its side, and how it is to be seen."""
    seen = noise(1, width=width, height=height)
    exif = Image.Exif()
    exif[ORIENTATION] = 6
    return encoded(seen.transpose(Image.Transpose.ROTATE_90), quality=95, exif=exif.tobytes()), seen


def test_large_and_small_pictures_lie_upright(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    grey = noise(6, mode="L")
    (small, small_seen), (large, large_seen) = turned(120, 80), turned(600, 400)
    pictures = {
        "small": (small, small_seen),
        "large": (large, large_seen.resize((256, 171))),
        "plain": (jpeg(2), noise(2)),
        "grey": (jpeg(3, mode="L"), noise(3, mode="L")),
        "png": (encoded(noise(4), "PNG"), noise(4)),
        "deep": (encoded(Image.fromarray(np.asarray(grey).astype(np.uint16) * 257), "PNG"), grey),
        "cmyk": (encoded(noise(5, mode="CMYK"), quality=95), noise(5, mode="CMYK")),
    }
    (tmp_path / "www").mkdir()
    with RememberingServer(tmp_path / "www") as server:
        for name, (content, _) in pictures.items():
            (tmp_path / "www" / f"{name}.jpg").write_bytes(content)
        lines = [f"{name}\t{server.address}/{name}.jpg\n" for name in (*pictures, "gone")]
        (tmp_path / "list.tsv").write_text("".join(lines))
        links, ledger = tmp_path / "links.parquet", tmp_path / "parts" / "0000_ledger.parquet"
        read_cc(tmp_path / "list.tsv", links, tmp_path / "links_fates.csv")
        fetch(links, 0, 1, tmp_path / "parts" / "0000", ledger, IMAGES, EFFORT, guard(server))
    manifest = pack_download(([ledger], links), tmp_path / "shards")
    assert fates_of(manifest) == {"kept": len(pictures)}
    for name, content in by_caption(manifest).items():
        found, seen = Image.open(io.BytesIO(content)).convert("RGB"), pictures[name][1].convert("RGB")
        assert found.size == seen.size, name
        assert np.abs(np.asarray(found).astype(int) - np.asarray(seen)).mean() < 12, name
    assert by_caption(manifest)["plain"] == jpeg(2)
    assert f"{len(pictures)} samples" in verify(manifest, manifest.with_name("fates.csv"), 1)
    assert RULES.quality == IMAGES.quality
