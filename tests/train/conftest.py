"""Tiny shards, models and runs for the tests of training."""

import io
import json
from hashlib import sha256

import numpy as np
import pytest
import torch
import torch.distributed as dist
from PIL import Image

from cloob.common.hashing import sha256_file
from cloob.common.json_files import write_json
from cloob.shards.writer import Sample, write_shard
from cloob.train.distributed import DistributedContext
from tests.helpers.training_runs import run_train

CAPTIONS = ["a red square", "a blue circle on grass", "two dogs", "an old barn at dusk"]


def noise_jpeg(generator: np.random.Generator) -> bytes:
    pixels = generator.integers(0, 255, (40, 56, 3), dtype=np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "JPEG")
    return buffer.getvalue()


@pytest.fixture(scope="session")
def shards(tmp_path_factory):
    """The manifest of 22 captioned images of noise in two shards."""
    folder = tmp_path_factory.mktemp("shards")
    generator = np.random.default_rng(0)
    entries = []
    for number, size in enumerate((12, 10)):
        samples = []
        for i in range(size):
            image = noise_jpeg(generator)
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
    """The path of a tiny model of the paper's family: a modified ResNet and a text transformer."""
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


@pytest.fixture(scope="session")
def finished_run(shards, model, tmp_path_factory):
    """The folder of an uninterrupted run of three epochs, with a checkpoint after each of its six steps."""
    folder = tmp_path_factory.mktemp("runs") / "finished"
    done = run_train(shards, model, folder, minutes=0)
    assert done.returncode == 0, done.stderr
    return folder


@pytest.fixture
def context():
    """The only process of a process group, on the CPU."""
    dist.init_process_group("gloo", store=dist.HashStore(), rank=0, world_size=1)
    yield DistributedContext(0, 1, torch.device("cpu"))
    dist.destroy_process_group()


@pytest.fixture(scope="session")
def float64_recipe():
    """Twenty steps of four micro-batches in float64: AdamW would amplify the rounding of float32."""
    return {"epochs": 20, "batch_size": 16, "micro_batch_size": 4, "precision": "float64"}


@pytest.fixture(scope="session")
def float64_run(shards, model, float64_recipe, tmp_path_factory):
    """The folder of a run of twenty steps in one process."""
    folder = tmp_path_factory.mktemp("runs") / "float64"
    assert run_train(shards, model, folder, **float64_recipe).returncode == 0
    return folder
