"""Training pairs whose image is one of the validation split, byte for byte or nearly so, are left out."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from cloob.common.accounting import KEPT
from cloob.common.errors import io_errors_at
from cloob.common.pool import advance, parallel_map
from cloob.images.near_duplicates import find_near_duplicates, hashes_to_array
from cloob.shards.manifest import read_index, read_manifest
from cloob.shards.writer import INDEX_SCHEMA

IN_VALIDATION = "in_validation"
NEAR_VALIDATION = "near_duplicate_of_validation"
_COLUMNS = pa.schema([INDEX_SCHEMA.field(name) for name in ("key", "sha256", "perceptual_hash")])
_NONE = np.iinfo(np.int64).max


@dataclass(frozen=True)
class HeldOutImages:
    """The images of a validation split: their keys, SHA-256 and perceptual hashes (null: none)."""

    key: pa.Array
    sha256: pa.Array
    perceptual_hash: pa.Array


def read_held_out(manifest: Path) -> HeldOutImages:
    """The images of packed shards. Raises `InputError` where an index is missing or of an older version."""
    tables = [
        read_index(shard, manifest.parent / shard["name"], _COLUMNS)
        for shard in read_manifest(manifest)["shards"]
    ]
    table = pa.concat_tables([_COLUMNS.empty_table(), *tables])
    return HeldOutImages(*(table[name].combine_chunks() for name in _COLUMNS.names))


def non_null_hashes(column: pa.Array | pa.ChunkedArray) -> tuple[np.ndarray, np.ndarray]:
    """The rows that have a perceptual hash, and their hashes as uint64 (n, 4)."""
    rows = np.flatnonzero(column.is_valid().to_numpy(zero_copy_only=False))
    return rows, hashes_to_array(column.drop_null().to_pylist())


def exclude_held_out(
    verdicts: list[Path], held_out: HeldOutImages | None, distance: int, processes: int
) -> Iterator[pa.Table]:
    """The tables of verdicts, in their order, with the outcome of kept rows whose image is held out changed.

    in_validation: the same bytes; near_duplicate_of_validation: perceptual hashes that differ in at most
    `distance` bits. `duplicate_of` is the key of the held-out image, of several the nearest one.
    """
    if held_out is None:
        for path in verdicts:
            table = _read(path)
            yield table.append_column("duplicate_of", pa.nulls(len(table), pa.string()))
        return
    rows, words = non_null_hashes(held_out.perceptual_hash)
    tasks = [(path, words, distance) for path in verdicts]
    total = count_rows(verdicts)
    nearest = parallel_map(_nearest, tasks, processes, total, "comparing with validation")
    for path, (near, which) in zip(verdicts, nearest, strict=True):
        yield _marked(_read(path), held_out, near, rows[which])


def count_rows(verdicts: list[Path]) -> int:
    """How many verdicts are in some tables."""
    total = 0
    for path in verdicts:
        with io_errors_at(path):
            total += pq.read_metadata(path).num_rows
    return total


def _read(verdicts: Path, columns: list[str] | None = None) -> pa.Table:
    with io_errors_at(verdicts):
        return pq.read_table(verdicts, columns=columns).replace_schema_metadata(None)


def _nearest(task: tuple[Path, np.ndarray, int]) -> tuple[np.ndarray, np.ndarray]:
    """The rows of a table of verdicts that have near-duplicates among hashes, and the nearest of each."""
    path, words, distance = task
    column = _read(path, ["perceptual_hash"])["perceptual_hash"]
    rows, mine = non_null_hashes(column)
    best = np.full(len(mine), _NONE)  # differing bits, and below them the row: the first of equally near ones
    for row, other, bits in find_near_duplicates(mine, words, distance):
        np.minimum.at(best, row, (bits << 32) | other)
    advance(len(column))
    found = best < _NONE
    return rows[found], best[found] & 0xFFFFFFFF


def _marked(table: pa.Table, held_out: HeldOutImages, near: np.ndarray, of: np.ndarray) -> pa.Table:
    kept = pc.equal(table["outcome"], KEPT)
    same = pc.index_in(table["sha256"], value_set=held_out.sha256)
    twin = pc.and_(kept, pc.is_valid(same))
    places = np.full(len(table), -1)
    places[near] = of
    alike = pa.array(places, mask=places < 0)
    lookalike = pc.and_(pc.and_not(kept, twin), pc.is_valid(alike))
    outcome = pc.if_else(twin, IN_VALIDATION, pc.if_else(lookalike, NEAR_VALIDATION, table["outcome"]))
    which = pc.if_else(twin, same.cast(pa.int64()), pc.if_else(lookalike, alike, pa.scalar(None, pa.int64())))
    table = table.set_column(table.schema.get_field_index("outcome"), "outcome", outcome)
    return table.append_column("duplicate_of", held_out.key.take(which.combine_chunks()))
