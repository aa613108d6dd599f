"""The search for near-duplicates among the images of packed shards; without torch, for its processes."""

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

_LISTED = 10  # images that are listed, the nearest ones

# How many images are near, and of the nearest ones the differing bits and the key.
Near = tuple[int, list[tuple[int, str]]]


_COLUMNS = pa.schema([INDEX_SCHEMA.field(name) for name in ("key", "perceptual_hash")])


@dataclass(frozen=True)
class _Task:
    tar: Path
    shard: dict[str, Any]  # its entry of the manifest
    words: np.ndarray
    distance: int


def compare(
    manifest: Path, shards: dict[str, Any], words: np.ndarray, distance: int, processes: int
) -> tuple[dict[int, Near], int]:
    """The images of packed shards near to each hash, by its row in `words`; how many images have a hash.

    Raises `InputError` where an index is not that of the manifest, or of an older version.
    """
    tasks = [_Task(manifest.parent / shard["name"], shard, words, distance) for shard in shards["shards"]]
    near: dict[int, Near] = {}
    compared = 0
    for of_shard, with_hash in parallel_map(_compare_shard, tasks, processes, shards["samples"], "comparing"):
        compared += with_hash
        for row, (count, nearest) in of_shard.items():
            _add(near, row, count, nearest)
    return near, compared


def _compare_shard(task: _Task) -> tuple[dict[int, Near], int]:
    """The same of one shard."""
    index = read_index(task.shard, task.tar, _COLUMNS)
    keys = index["key"].to_pylist()
    rows, mine = non_null_hashes(index["perceptual_hash"])
    near: dict[int, Near] = {}
    for row, test, bits in find_near_duplicates(mine, task.words, task.distance):
        for place, which, differing in zip(rows[row].tolist(), test.tolist(), bits.tolist(), strict=True):
            _add(near, which, 1, [(differing, keys[place])])
    advance(len(keys))
    return near, len(rows)


def _add(near: dict[int, Near], row: int, count: int, nearest: list[tuple[int, str]]) -> None:
    before, known = near.get(row, (0, []))
    near[row] = before + count, sorted([*known, *nearest])[:_LISTED]
