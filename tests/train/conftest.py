import io
import json
from hashlib import sha256

import numpy as np
import pytest
from PIL import Image

from cloob.common.hashing import sha256_file
from cloob.common.json_files import write_json
from cloob.shards.writer import Sample, write_shard

CAPTIONS = ["a red square", "a blue circle on grass", "two dogs", "an old barn at dusk"]


def jpeg(generator: np.random.Generator) -> bytes:
    pixels = generator.integers(0, 255, (40, 56, 3), dtype=np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "JPEG")
    return buffer.getvalue()


@pytest.fixture(scope="session")
def shards(tmp_path_factory):
    """A manifest of 22 captioned pictures of noise in two shards."""
    folder = tmp_path_factory.mktemp("shards")
    generator = np.random.default_rng(0)
    entries = []
    for number, size in enumerate((12, 10)):
        samples = []
        for i in range(size):
            image = jpeg(generator)
            digest = sha256(image).hexdigest()
            samples.append(Sample(f"{number}{i:03d}", image, CAPTIONS[i % 4] + f" {i}", digest, 56, 40))
        entries.append(write_shard(folder / f"{number:06d}.tar", samples))
    write_json(
        folder / "shards.json",
        {"samples": 22, "bytes": 0, "sha256": sha256_file(folder / "000000.tar"), "shards": entries},
    )
    return folder / "shards.json"


@pytest.fixture(scope="session")
def model(tmp_path_factory):
    """The path of the smallest model of the paper's family: a modified ResNet and a text transformer."""
    path = tmp_path_factory.mktemp("model") / "tiny.json"
    path.write_text(
        json.dumps(
            {
                "embed_dim": 16,
                "quick_gelu": True,
                "vision_cfg": {
                    "image_size": 32,
                    "layers": [1, 1, 1, 1],
                    "width": 8,
                    "patch_size": None,
                    "head_width": 32,
                },
                "text_cfg": {"context_length": 12, "vocab_size": 49408, "width": 16, "heads": 2, "layers": 1},
            }
        )
    )
    return str(path)
