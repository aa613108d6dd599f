"""Download with img2dataset, then pack: every image is upright and has the expected pixels."""

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageOps

from cloob.download.corpora import conceptual_captions
from cloob.download.fetch.part import fetch_part
from cloob.download.fetch.round import FetchOptions, ImageOptions
from cloob.shards.verify import verify
from tests.helpers.packing import POLICY, images_by_caption, manifest_outcomes, pack_download
from tests.helpers.recording_server import RecordingServer, guard_allowing
from tests.helpers.sample_images import ORIENTATION_TAG, encode_image, jpeg, noise_image

FETCH_OPTIONS = FetchOptions(
    user_agent="cloob-tests",
    requests_per_second=1000,
    timeout=5,
    retries=0,
    retry_rounds=1,
    seconds_between_rounds=0,
    processes=1,
    threads=8,
)
IMAGE_OPTIONS = ImageOptions(
    image_size=256, quality=95, max_aspect_ratio=3.0, min_size=16, samples_per_tar=100
)


ENCODER_OPTIONS = {"JPEG": {"quality": 95}, "PNG": {}, "WEBP": {"quality": 95}, "TIFF": {}}


def rotated(form: str, width: int, height: int, orientation: int = 6) -> tuple[bytes, Image.Image]:
    """A file with an EXIF orientation, and the upright image."""
    stored = noise_image(1, width=width, height=height)
    exif = Image.Exif()
    exif[ORIENTATION_TAG] = orientation
    content = encode_image(stored, form, exif=exif.tobytes(), **ENCODER_OPTIONS[form])
    stored.getexif()[ORIENTATION_TAG] = orientation
    return content, ImageOps.exif_transpose(stored)


def half_transparent() -> tuple[bytes, Image.Image]:
    """A PNG whose left half is transparent, and the image composed over white, as the download stores it."""
    image = noise_image(7, mode="RGBA", width=300, height=200)
    image.putalpha(255)
    image.paste((9, 9, 9, 0), (0, 0, 150, 200))
    white = Image.new("RGBA", image.size, "white")
    return encode_image(image, "PNG"), Image.alpha_composite(white, image).resize((256, 171))


def test_downloaded_images_of_all_formats_are_packed_upright(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    gray = noise_image(6, mode="L")
    images = {}
    for form in ENCODER_OPTIONS:
        large, upright = rotated(form, 400, 600)
        images[f"small {form}"] = rotated(form, 80, 120)
        images[f"large {form}"] = large, upright.resize((256, 171))
        images[f"mirrored {form}"] = rotated(form, 80, 120, orientation=7)
    images |= {
        "transparent": half_transparent(),
        "plain": (jpeg(2), noise_image(2)),
        "gray": (jpeg(3, mode="L"), noise_image(3, mode="L")),
        "png": (encode_image(noise_image(4), "PNG"), noise_image(4)),
        "16 bit": (encode_image(Image.fromarray(np.asarray(gray).astype(np.uint16) * 257), "PNG"), gray),
        "cmyk": (encode_image(noise_image(5, mode="CMYK"), quality=95), noise_image(5, mode="CMYK")),
    }
    (tmp_path / "www").mkdir()
    with RecordingServer(tmp_path / "www") as server:
        for name, (content, _) in images.items():
            (tmp_path / "www" / f"{name.replace(' ', '_')}.jpg").write_bytes(content)
        (tmp_path / "www" / "truncated.jpg").write_bytes(jpeg(8, width=600, height=400)[:-5000])
        lines = [
            f"{name}\t{server.url}/{name.replace(' ', '_')}.jpg\n" for name in (*images, "gone", "truncated")
        ]
        (tmp_path / "list.tsv").write_text("".join(lines))
        urls, ledger = tmp_path / "urls.parquet", tmp_path / "parts" / "0000_ledger.parquet"
        conceptual_captions.read(urls, tmp_path / "urls_outcomes.csv", tmp_path / "list.tsv")
        options = IMAGE_OPTIONS, FETCH_OPTIONS, guard_allowing(server)
        outcomes = fetch_part(urls, 0, 1, tmp_path / "parts" / "0000", ledger, *options)
    assert outcomes == {"kept": len(images), "http_404": 1, "truncated_image": 1}
    manifest = pack_download(([ledger], urls), tmp_path / "shards")
    assert manifest_outcomes(manifest) == {"kept": len(images)}
    for name, content in images_by_caption(manifest).items():
        packed, expected = Image.open(io.BytesIO(content)).convert("RGB"), images[name][1].convert("RGB")
        assert packed.size == expected.size, name
        assert np.abs(np.asarray(packed).astype(int) - np.asarray(expected)).mean() < 12, name
    assert images_by_caption(manifest)["plain"] == jpeg(2)
    assert f"{len(images)} samples" in verify(manifest, manifest.with_name("outcomes.csv"), 1)
    assert POLICY.quality == IMAGE_OPTIONS.quality
