"""Near-duplicate search among the images of packed shards; free of torch, for fast worker processes."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from cloob.common.pool import advance, parallel_map
from cloob.images.near_duplicates import find_near_duplicates
from cloob.images.segment_search import MAX_DISTANCE, Pairs, search_segments
from cloob.shards.held_out import non_null_hashes
from cloob.shards.manifest import check_hash_version, read_index
from cloob.shards.writer import INDEX_SCHEMA

_MAX_LISTED = 10  # nearest training images that are listed per test image
_COLUMNS = pa.schema([INDEX_SCHEMA.field(name) for name in ("key", "perceptual_hash")])
_PAIRS_PER_MERGE = 1 << 20


@dataclass(frozen=True)
class Matches:
    """The near-duplicates of m test hashes among the training images that have a hash.

    `counts` (m,) are the numbers of training images within the distance, `nearest` the (differing bits, key)
    of the nearest ones by test hash; `compared` is the number of training images with a hash.
    """

    counts: NDArray[np.int64]
    nearest: dict[int, list[tuple[int, str]]]
    compared: int


def search_shards(
    manifest: Path, shards: dict[str, Any], words: np.ndarray, distance: int, processes: int
) -> Matches:
    """The matches of `words` (m, 4), the perceptual hashes of the test images, in the packed shards.

    The keys and hashes of all training images are in memory: 1 GB for 14.8 million. Raises `InputError` if
    an index does not belong to the manifest, or its hashes are of another version.
    """
    check_hash_version(shards, manifest)
    tasks = [(shard, manifest.parent / shard["name"]) for shard in shards["shards"]]
    indexes = parallel_map(_read_hashes, tasks, processes, shards["samples"], "reading hashes")
    keys, hashes = zip(*indexes, strict=True) if tasks else ((), ())
    training = np.concatenate([np.empty((0, words.shape[1]), np.uint64), *hashes])
    del hashes
    search = search_segments if distance <= MAX_DISTANCE else find_near_duplicates
    counts, test_rows, bits, training_rows = _nearest(search(training, words, distance), len(words))
    all_keys = pa.chunked_array(keys, pa.string())
    nearest: dict[int, list[tuple[int, str]]] = {}
    matched_keys = all_keys.take(pa.array(training_rows)).to_pylist()
    for row, differing, key in zip(test_rows.tolist(), bits.tolist(), matched_keys, strict=True):
        nearest.setdefault(row, []).append((differing, key))
    return Matches(counts, nearest, len(training))


def _read_hashes(task: tuple[dict[str, Any], Path]) -> tuple[pa.Array, np.ndarray]:
    """The keys and hashes, uint64 (n, 4), of the images of a shard that have a hash."""
    index = read_index(*task, _COLUMNS)
    rows, hashes = non_null_hashes(index["perceptual_hash"])
    advance(len(index))
    return index["key"].combine_chunks().take(pa.array(rows)), hashes


def _nearest(pairs: Iterable[Pairs], count: int) -> tuple[NDArray[np.int64], ...]:
    """The number of pairs of each test image (count,), and the nearest ones as parallel arrays.

    These are test row, differing bits, and training row, at most `_MAX_LISTED` per test row. They are sorted;
    of equally near training images the first ones are taken.
    """
    counts = np.zeros(count, np.int64)
    nearest = (np.empty(0, np.int64),) * 3
    for training_rows, test_rows, bits in _batches(pairs):
        counts += np.bincount(test_rows, minlength=count)
        columns = zip(nearest, (test_rows, bits, training_rows), strict=True)
        rows, distances, others = (np.concatenate(parts) for parts in columns)
        order = np.lexsort((others, distances, rows))
        rows = rows[order]
        rank = np.arange(len(rows)) - np.searchsorted(rows, rows)
        listed = order[rank < _MAX_LISTED]
        nearest = (rows[rank < _MAX_LISTED], distances[listed], others[listed])
    return counts, *nearest


def _batches(pairs: Iterable[Pairs]) -> Iterator[Pairs]:
    """The pairs in fewer arrays."""
    batch: list[Pairs] = []
    size = 0
    for part in pairs:
        batch.append(part)
        size += len(part[0])
        if size >= _PAIRS_PER_MERGE:
            yield _joined(batch)
            batch, size = [], 0
    if batch:
        yield _joined(batch)


def _joined(batch: list[Pairs]) -> Pairs:
    rows, others, bits = (np.concatenate(parts) for parts in zip(*batch, strict=True))
    return rows, others, bits
