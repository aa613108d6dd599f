"""Shards of a few captioned images."""

import hashlib
import io
from pathlib import Path

from PIL import Image

from cloob.common.json_files import write_json
from cloob.shards.reader import Shards
from cloob.shards.writer import Sample, write_shard


def shards_of(folder: Path, pairs: list[tuple[int, str]], sha256: str = "of the content") -> Shards:
    """Shards of captioned images, each generated from an integer: equal integers give equal bytes."""
    images = []
    for level, caption in pairs:
        jpeg = io.BytesIO()
        gradient = Image.linear_gradient("L").rotate(50 * level)
        photo = Image.merge("RGB", [gradient, gradient.rotate(70 * level), Image.radial_gradient("L")])
        photo.resize((40 + level, 36)).save(jpeg, "JPEG")
        images.append((jpeg.getvalue(), caption))
    return shards_of_images(folder, images, sha256)


def shards_of_images(folder: Path, pairs: list[tuple[bytes, str]], sha256: str = "of the content") -> Shards:
    """Shards of these images, about 40 × 36 pixels, and captions."""
    samples = []
    for number, (image, caption) in enumerate(pairs):
        digest = hashlib.sha256(image).hexdigest()
        samples.append(Sample(f"{number:06d}", image, caption, digest, 40, 36))
    folder.mkdir(parents=True, exist_ok=True)
    entry = write_shard(folder / "000000.tar", samples)
    write_json(folder / "shards.json", {"samples": len(pairs), "sha256": sha256, "shards": [entry]})
    return Shards(folder / "shards.json")
