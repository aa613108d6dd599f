"""Search of a corpus of YFCC's size for near-duplicates of all test images, as `cloob evaluate overlap` does.

Writes the indexes of `--images` packed images with random hashes to a temporary folder (1 GB for 14.8
million), of which every hundred-thousandth is a near-duplicate of a test image, and searches them for
`--test-images` random hashes; with `--in-memory` it searches the hashes without writing and reading indexes.
The hashing of the test images is not included (benchmarks/near_duplicates.py).
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
from cloob.images.segment_search import search_segments
from cloob.shards.writer import INDEX_SCHEMA

SAMPLES_PER_SHARD = 10_000
PLANTED_EVERY = 100_000
IMAGE_BYTES = 35_000


def flip_bits(word: np.ndarray, bits: int, rng: np.random.Generator) -> np.ndarray:
    flipped = np.unpackbits(word.view(np.uint8))
    flipped[rng.choice(256, bits, replace=False)] ^= 1
    return np.packbits(flipped).view(np.uint64)


Pair = tuple[int, int, int]  # training row, test row, differing bits
Hashes = tuple[np.ndarray, list[Pair]]


def random_hashes(images: int, test: np.ndarray, distance: int, rng: np.random.Generator) -> Hashes:
    """Hashes of training images (n, 4), and the pairs within the distance that they have with `test`."""
    hashes = rng.integers(0, 2**64, (images, 4), dtype=np.uint64)
    planted = []
    for row in range(0, images, PLANTED_EVERY):
        test_row, bits = int(rng.integers(len(test))), len(planted) % (distance + 1)
        hashes[row] = flip_bits(test[test_row], bits, rng)
        planted.append((row, test_row, bits))
    return hashes, planted


def write_index(folder: Path, start: int, hashes: np.ndarray) -> dict[str, Any]:
    """Write the index of a shard with these hashes; the tar is a hole of its size."""
    count, name = len(hashes), f"{start // SAMPLES_PER_SHARD:06d}.tar"
    offsets = np.arange(count) * IMAGE_BYTES
    columns = {
        "key": [f"{index:09d}" for index in range(start, start + count)],
        "sha256": ["0" * 64] * count,
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
    parser.add_argument("--in-memory", action="store_true", help="search only, without index files")
    options = parser.parse_args()
    rng = np.random.default_rng(1)
    test = rng.integers(0, 2**64, (options.test_images, 4), dtype=np.uint64)
    hashes, planted = random_hashes(options.images, test, options.distance, rng)
    if options.in_memory:
        start = _seconds()
        parts = list(search_segments(hashes, test, options.distance))
        wall, cpu = _seconds() - start
        found = [pair for part in parts for pair in zip(*(column.tolist() for column in part), strict=True)]
    else:
        with tempfile.TemporaryDirectory() as name:
            folder, step = Path(name), SAMPLES_PER_SHARD
            shards = [
                write_index(folder, first, hashes[first : first + step])
                for first in range(0, options.images, step)
            ]
            del hashes
            manifest = {"samples": options.images, "shards": shards}
            start = _seconds()
            matches = search_shards(
                folder / "shards.json", manifest, test, options.distance, options.processes
            )
            wall, cpu = _seconds() - start
        found = [(int(key), row, bits) for row, near in matches.nearest.items() for bits, key in near]
    if sorted(found) != planted:
        raise SystemExit(f"found {len(found)} pairs, not the {len(planted)} planted ones")
    peak = max(resource.getrusage(who).ru_maxrss for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    print(
        f"{options.images:,} × {options.test_images:,} hashes, distance {options.distance}: {cpu:.0f} CPU "
        f"seconds ({wall:.0f} s), {peak / 1000:,.0f} MB; all {len(planted)} planted near-duplicates found, "
        "and no others."
    )


def _seconds() -> np.ndarray:
    """Wall-clock time, and CPU time of this process and its children."""
    usages = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return np.array([time.perf_counter(), sum(usage.ru_utime + usage.ru_stime for usage in usages)])


if __name__ == "__main__":
    main()
