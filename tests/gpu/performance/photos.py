"""Shards of the shape of Conceptual Captions: photos of 500 × 375 pixels and 67 KB, captions of 10 words."""

import hashlib
import io
from pathlib import Path

import numpy as np
from PIL import Image, ImageFilter

from cloob.common.json_files import write_json
from cloob.shards.writer import Sample, write_shard
from tests.gpu.performance.workload import caption_words

WIDTH, HEIGHT = 500, 375
PAIRS_PER_SHARD = 1024
WORDS = ("a photo of the old red barn near two dogs on green grass " * 2).split()


def photo(generator: np.random.Generator) -> bytes:
    """A JPEG with the frequencies of a photo: smooth regions, edges, grain."""
    coarse = generator.integers(0, 256, (12, 16, 3), dtype=np.uint8)
    smooth = Image.fromarray(coarse).resize((WIDTH, HEIGHT), Image.Resampling.BICUBIC)
    grain = generator.normal(0, 24, (HEIGHT, WIDTH, 3))
    noisy = Image.fromarray(np.clip(np.asarray(smooth) + grain, 0, 255).astype(np.uint8))
    buffer = io.BytesIO()
    noisy.filter(ImageFilter.GaussianBlur(0.7)).save(buffer, "JPEG", quality=90)
    return buffer.getvalue()


def write_photo_shards(folder: Path, pairs: int, distinct: int) -> Path:
    """Shards of `pairs` captioned photos, of which `distinct` differ; returns the manifest."""
    folder.mkdir(parents=True)
    generator = np.random.default_rng(0)
    photos = [photo(generator) for _ in range(distinct)]
    digests = [hashlib.sha256(image).hexdigest() for image in photos]
    captions = [" ".join(generator.choice(WORDS, words)) for words in caption_words(pairs)]
    entries = []
    for number, start in enumerate(range(0, pairs, PAIRS_PER_SHARD)):
        samples = [
            Sample(f"{i:08d}", photos[i % distinct], captions[i], digests[i % distinct], WIDTH, HEIGHT)
            for i in range(start, min(start + PAIRS_PER_SHARD, pairs))
        ]
        entries.append(write_shard(folder / f"{number:06d}.tar", samples))
    write_json(
        folder / "shards.json",
        {
            "samples": pairs,
            "bytes": sum(int(entry["bytes"]) for entry in entries),
            "sha256": hashlib.sha256("".join(digests).encode()).hexdigest(),
            "shards": entries,
        },
    )
    return folder / "shards.json"
