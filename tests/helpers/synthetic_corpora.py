"""Shards of any number of samples without images: random indexes, and tars that are one large hole."""

import os
from hashlib import sha256
from pathlib import Path

import numpy as np
import pyarrow as pa

from cloob.common.json_files import write_json
from cloob.images.near_duplicates import HASH_BYTES
from cloob.shards.writer import INDEX_SCHEMA, write_index

_BLOCK = 512  # of a tar
_MEAN_IMAGE_BYTES, _RECORD_BYTES = 50_000, 400


def write_synthetic_shards(
    folder: Path, samples: int, samples_per_shard: int = 10_000, distinct: int = 16
) -> Path:
    """Write an index and a sparse tar per shard, and the manifest, whose path is returned.

    Only `distinct` indexes differ; all others are hard links, so that a corpus takes a few megabytes of disk.
    """
    folder.mkdir(parents=True, exist_ok=True)
    generator = np.random.default_rng(0)
    shards, prototypes = [], {}
    for number, start in enumerate(range(0, samples, samples_per_shard)):
        size = min(samples_per_shard, samples - start)
        tar = folder / f"{number:06d}.tar"
        kind = (size, number % distinct)
        if kind not in prototypes:
            index = synthetic_index(generator, size)
            write_index(index, tar.with_suffix(".parquet"))
            with tar.open("wb") as file:
                file.truncate(index["caption_offset"][-1].as_py() + 3 * _BLOCK)  # its block, and the end
            digest = sha256(tar.with_suffix(".parquet").read_bytes()).hexdigest()
            entry = {"samples": size, "bytes": tar.stat().st_size, "sha256": "", "index_sha256": digest}
            prototypes[kind] = (tar, entry)
        else:
            for suffix in (".tar", ".parquet"):
                os.link(prototypes[kind][0].with_suffix(suffix), tar.with_suffix(suffix))
        shards.append({"name": tar.name, **prototypes[kind][1]})
    manifest = folder / "shards.json"
    write_json(manifest, {"samples": samples, "sha256": "", "shards": shards})
    return manifest


def synthetic_index(generator: np.random.Generator, size: int) -> pa.Table:
    """The index of a shard with random image sizes and hashes; members are in the order of `write_shard`."""
    image = generator.integers(_MEAN_IMAGE_BYTES // 2, 3 * _MEAN_IMAGE_BYTES // 2, size)
    caption = generator.integers(10, 200, size)
    record = np.full(size, _RECORD_BYTES)
    # Image, record and caption, each with a header and padded to whole blocks.
    lengths = np.stack([image, record, caption], axis=1).ravel()
    ends = np.cumsum(_BLOCK * (1 + -(-lengths // _BLOCK)))
    offsets = (np.concatenate([[0], ends[:-1]]) + _BLOCK).reshape(size, 3)
    columns = {
        "key": [f"{number:016x}" for number in generator.integers(0, 2**63, size)],
        "image_offset": offsets[:, 0],
        "image_length": image,
        "caption_offset": offsets[:, 2],
        "caption_length": caption,
        "record_offset": offsets[:, 1],
        "record_length": record,
        "sha256": [generator.bytes(32).hex() for _ in range(size)],
        "width": np.full(size, 500),
        "height": np.full(size, 375),
        "perceptual_hash": [generator.bytes(HASH_BYTES) for _ in range(size)],
    }
    return pa.table(columns, schema=INDEX_SCHEMA)
