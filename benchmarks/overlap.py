"""Search of a corpus of YFCC's size for near-duplicates of all test images, as `cloob evaluate overlap` does.

Writes the indexes of `--images` packed images with random hashes to a temporary folder (2 GB for 14.8
million), of which every hundred-thousandth is a near-duplicate of a test image, and searches them for
`--test-images` random hashes. The hashing of the test images is not included (benchmarks/near_duplicates.py).
"""

import argparse
import resource
import tempfile
import time
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from cloob.evaluate.protocols.overlap_search import search_shards
from cloob.images.near_duplicates import DEFAULT_DISTANCE
from cloob.shards.writer import INDEX_SCHEMA

SAMPLES_PER_SHARD = 10_000
PLANTED_EVERY = 100_000
IMAGE_BYTES = 35_000


def flip_bits(word: np.ndarray, bits: int, rng: np.random.Generator) -> np.ndarray:
    flipped = np.unpackbits(word.view(np.uint8))
    flipped[rng.choice(256, bits, replace=False)] ^= 1
    return np.packbits(flipped).view(np.uint64)


def write_index(folder: Path, start: int, hashes: np.ndarray, rng: np.random.Generator) -> dict[str, Any]:
    """Write the index of a shard with these hashes; the tar is a hole of its size."""
    count, name = len(hashes), f"{start // SAMPLES_PER_SHARD:06d}.tar"
    offsets = np.arange(count) * IMAGE_BYTES
    digests = rng.bytes(32 * count).hex()
    columns = {
        "key": [f"{index:09d}" for index in range(start, start + count)],
        "sha256": [digests[64 * row : 64 * row + 64] for row in range(count)],
        "perceptual_hash": pa.FixedSizeBinaryArray.from_buffers(
            pa.binary(32), count, [None, pa.py_buffer(hashes.tobytes())]
        ),
    }
    table = pa.table({field: columns.get(field, offsets) for field in INDEX_SCHEMA.names})
    path = (folder / name).with_suffix(".parquet")
    pq.write_table(table.cast(INDEX_SCHEMA), path)
    with (folder / name).open("wb") as tar:
        tar.truncate(count * IMAGE_BYTES)
    digest = sha256(path.read_bytes()).hexdigest()
    return {"name": name, "samples": count, "bytes": count * IMAGE_BYTES, "index_sha256": digest}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--images", type=int, default=14_800_000, help="number of training images")
    parser.add_argument("--test-images", type=int, default=130_000, help="number of test images")
    parser.add_argument("--distance", type=int, default=DEFAULT_DISTANCE, help="differing bits")
    parser.add_argument("--processes", type=int, default=1, help="processes that read the indexes")
    options = parser.parse_args()
    rng = np.random.default_rng(1)
    test = rng.integers(0, 2**64, (options.test_images, 4), dtype=np.uint64)
    shards, planted = [], {}
    with tempfile.TemporaryDirectory() as folder:
        for start in range(0, options.images, SAMPLES_PER_SHARD):
            count = min(SAMPLES_PER_SHARD, options.images - start)
            hashes = rng.integers(0, 2**64, (count, 4), dtype=np.uint64)
            if start % PLANTED_EVERY == 0:
                row, bits = int(rng.integers(len(test))), len(planted) % (options.distance + 1)
                hashes[0] = flip_bits(test[row], bits, rng)
                planted[f"{start:09d}"] = (row, bits)
            shards.append(write_index(Path(folder), start, hashes, rng))
        manifest = {"samples": options.images, "shards": shards}
        before = _cpu_seconds()
        wall = time.perf_counter()
        found = search_shards(
            Path(folder) / "shards.json", manifest, test, options.distance, options.processes
        )
        wall, cpu = time.perf_counter() - wall, _cpu_seconds() - before
    pairs = {key: (row, bits) for row, near in found.nearest.items() for bits, key in near}
    if pairs != planted:
        raise SystemExit(f"found {len(pairs)} pairs, not the {len(planted)} planted ones")
    peak = max(resource.getrusage(who).ru_maxrss for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    print(
        f"{options.images:,} × {options.test_images:,} hashes, distance {options.distance}: {cpu:.0f} CPU "
        f"seconds ({wall:.0f} s), {peak / 1000:,.0f} MB; all {len(planted)} planted near-duplicates found, "
        "and no others."
    )


def _cpu_seconds() -> float:
    usages = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(usage.ru_utime + usage.ru_stime for usage in usages)


if __name__ == "__main__":
    main()
