"""What img2dataset really fetches, packed: every picture lies as it is to be seen."""

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageOps

from cloob.download.corpora.conceptual_captions import read as read_conceptual_captions
from cloob.download.fetch.part import fetch_part
from cloob.download.fetch.round import FetchOptions, ImageOptions
from cloob.shards.verify import verify
from tests.helpers.packing import RULES, by_caption, outcomes_of, pack_download
from tests.helpers.sample_images import ORIENTATION, encoded, jpeg, noise
from tests.helpers.served_parts import RememberingServer, guard

EFFORT = FetchOptions(
    user_agent="cloob-tests",
    requests_per_second=1000,
    timeout=5,
    retries=0,
    retry_rounds=1,
    seconds_between_rounds=0,
    processes=1,
    threads=8,
)
IMAGES = ImageOptions(image_size=256, quality=95, max_aspect_ratio=3.0, min_size=16, samples_per_tar=100)


FORMS = {"JPEG": {"quality": 95}, "PNG": {}, "WEBP": {"quality": 95}, "TIFF": {}}


def turned(form: str, width: int, height: int, orientation: int = 6) -> tuple[bytes, Image.Image]:
    """A file that lies on its side, and how it is to be seen."""
    stored = noise(1, width=width, height=height)
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    content = encoded(stored, form, exif=exif.tobytes(), **FORMS[form])
    stored.getexif()[ORIENTATION] = orientation
    return content, ImageOps.exif_transpose(stored)


def half_clear() -> tuple[bytes, Image.Image]:
    """A PNG whose left half is transparent, over another color, and how it is to be seen."""
    picture = noise(7, mode="RGBA", width=300, height=200)
    picture.putalpha(255)
    picture.paste((9, 9, 9, 0), (0, 0, 150, 200))
    white = Image.new("RGBA", picture.size, "white")
    return encoded(picture, "PNG"), Image.alpha_composite(white, picture).resize((256, 171))


def test_large_and_small_pictures_lie_upright(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    grey = noise(6, mode="L")
    pictures = {}
    for form in FORMS:
        large, seen = turned(form, 400, 600)
        pictures[f"small {form}"] = turned(form, 80, 120)
        pictures[f"large {form}"] = large, seen.resize((256, 171))
        pictures[f"mirrored {form}"] = turned(form, 80, 120, orientation=7)
    pictures |= {
        "clear": half_clear(),
        "plain": (jpeg(2), noise(2)),
        "grey": (jpeg(3, mode="L"), noise(3, mode="L")),
        "png": (encoded(noise(4), "PNG"), noise(4)),
        "deep": (encoded(Image.fromarray(np.asarray(grey).astype(np.uint16) * 257), "PNG"), grey),
        "cmyk": (encoded(noise(5, mode="CMYK"), quality=95), noise(5, mode="CMYK")),
    }
    (tmp_path / "www").mkdir()
    with RememberingServer(tmp_path / "www") as server:
        for name, (content, _) in pictures.items():
            (tmp_path / "www" / f"{name.replace(' ', '_')}.jpg").write_bytes(content)
        (tmp_path / "www" / "torn.jpg").write_bytes(jpeg(8, width=600, height=400)[:-5000])
        lines = [
            f"{name}\t{server.address}/{name.replace(' ', '_')}.jpg\n" for name in (*pictures, "gone", "torn")
        ]
        (tmp_path / "list.tsv").write_text("".join(lines))
        links, ledger = tmp_path / "urls.parquet", tmp_path / "parts" / "0000_ledger.parquet"
        read_conceptual_captions(links, tmp_path / "urls_outcomes.csv", tmp_path / "list.tsv")
        outcomes = fetch_part(links, 0, 1, tmp_path / "parts" / "0000", ledger, IMAGES, EFFORT, guard(server))
    assert outcomes == {"kept": len(pictures), "http_404": 1, "truncated_image": 1}  # not scaled, half gray
    manifest = pack_download(([ledger], links), tmp_path / "shards")
    assert outcomes_of(manifest) == {"kept": len(pictures)}
    for name, content in by_caption(manifest).items():
        found, seen = Image.open(io.BytesIO(content)).convert("RGB"), pictures[name][1].convert("RGB")
        assert found.size == seen.size, name
        assert np.abs(np.asarray(found).astype(int) - np.asarray(seen)).mean() < 12, name
    assert by_caption(manifest)["plain"] == jpeg(2)
    assert f"{len(pictures)} samples" in verify(manifest, manifest.with_name("outcomes.csv"), 1)
    assert RULES.quality == IMAGES.quality
