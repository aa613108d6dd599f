"""Near-duplicate search among the images of packed shards; free of torch, for fast worker processes."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from cloob.common.pool import advance, parallel_map
from cloob.images.near_duplicates import find_near_duplicates
from cloob.shards.held_out import non_null_hashes
from cloob.shards.manifest import read_index
from cloob.shards.writer import INDEX_SCHEMA

_MAX_LISTED = 10  # nearest training images that are listed per test image

# The number of training images within the distance, and (differing bits, key) of the nearest ones.
Matches = tuple[int, list[tuple[int, str]]]


_COLUMNS = pa.schema([INDEX_SCHEMA.field(name) for name in ("key", "perceptual_hash")])


@dataclass(frozen=True)
class _Task:
    tar: Path
    shard: dict[str, Any]  # the shard's entry in the manifest
    words: np.ndarray
    distance: int


def search_shards(
    manifest: Path, shards: dict[str, Any], words: np.ndarray, distance: int, processes: int
) -> tuple[dict[int, Matches], int]:
    """The matches in the packed shards, by row of `words`, and the number of training images with a hash.

    `words` are the perceptual hashes of the test images. Raises `InputError` if an index does not belong to
    the manifest or has an older format.
    """
    tasks = [_Task(manifest.parent / shard["name"], shard, words, distance) for shard in shards["shards"]]
    matches: dict[int, Matches] = {}
    compared = 0
    for shard_matches, with_hash in parallel_map(
        _search_shard, tasks, processes, shards["samples"], "comparing"
    ):
        compared += with_hash
        for row, (count, nearest) in shard_matches.items():
            _add(matches, row, count, nearest)
    return matches, compared


def _search_shard(task: _Task) -> tuple[dict[int, Matches], int]:
    """`search_shards` for a single shard."""
    index = read_index(task.shard, task.tar, _COLUMNS)
    keys = index["key"].to_pylist()
    indices, train_words = non_null_hashes(index["perceptual_hash"])
    matches: dict[int, Matches] = {}
    for hits, rows, bits in find_near_duplicates(train_words, task.words, task.distance):
        samples = indices[hits].tolist()
        for sample, row, differing in zip(samples, rows.tolist(), bits.tolist(), strict=True):
            _add(matches, row, 1, [(differing, keys[sample])])
    advance(len(keys))
    return matches, len(indices)


def _add(matches: dict[int, Matches], row: int, count: int, nearest: list[tuple[int, str]]) -> None:
    known_count, known = matches.get(row, (0, []))
    matches[row] = known_count + count, sorted([*known, *nearest])[:_MAX_LISTED]
