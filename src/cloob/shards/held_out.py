"""Exclude training pairs whose image is an exact or near-duplicate of an image of a validation split."""

from collections.abc import Iterator, Sequence
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
from cloob.shards.manifest import check_hash_version, read_index, read_manifest
from cloob.shards.writer import INDEX_SCHEMA

IN_VALIDATION = "in_validation"
NEAR_VALIDATION = "near_duplicate_of_validation"
_COLUMNS = pa.schema([INDEX_SCHEMA.field(name) for name in ("key", "sha256", "perceptual_hash")])
_NO_MATCH = np.iinfo(np.int64).max


@dataclass(frozen=True)
class HeldOutImages:
    """Splits, keys, SHA-256 and perceptual hashes (null: none) of the images of the validation splits."""

    split: pa.DictionaryArray
    key: pa.Array
    sha256: pa.Array
    perceptual_hash: pa.Array


def read_held_out(manifests: Sequence[Path]) -> HeldOutImages:
    """The images of packed shards. Raises `InputError` if an index is missing or of another version."""
    tables, splits = [_COLUMNS.empty_table()], []
    for number, manifest in enumerate(manifests):
        shards = read_manifest(manifest)
        check_hash_version(shards, manifest)
        for shard in shards["shards"]:
            tables.append(read_index(shard, manifest.parent / shard["name"], _COLUMNS))
            splits.append(np.full(len(tables[-1]), number, np.int32))
    table = pa.concat_tables(tables)
    names = ["/".join(manifest.absolute().parent.parts[-2:]) for manifest in manifests]
    split = pa.DictionaryArray.from_arrays(np.concatenate([np.empty(0, np.int32), *splits]), names)
    return HeldOutImages(split, *(table[name].combine_chunks() for name in _COLUMNS.names))


def non_null_hashes(column: pa.Array | pa.ChunkedArray) -> tuple[np.ndarray, np.ndarray]:
    """The indices of the rows that have a perceptual hash, and their hashes as uint64 (n, 4)."""
    rows = np.flatnonzero(column.is_valid().to_numpy(zero_copy_only=False))
    return rows, hashes_to_array(column.drop_null().to_pylist())


def exclude_held_out(
    tables: list[Path], held_out: HeldOutImages | None, max_distance: int, processes: int
) -> Iterator[pa.Table]:
    """Yield the tables of `validate_images` in order, with the outcome of duplicates of held-out images set.

    in_validation: identical bytes; near_duplicate_of_validation: perceptual hashes that differ in at most
    `max_distance` bits. The added columns are `duplicate_of`, the key of the held-out image, the nearest one
    if there are several, and `duplicate_of_split`, the last two folders of its shards (`cc3m/validation`).
    """
    if held_out is None:
        for path in tables:
            table = _read(path)
            nulls = pa.nulls(len(table), pa.string())
            yield table.append_column("duplicate_of", nulls).append_column("duplicate_of_split", nulls)
        return
    held_out_rows, held_out_hashes = non_null_hashes(held_out.perceptual_hash)
    tasks = [(path, held_out_hashes, max_distance) for path in tables]
    matches = parallel_map(
        _nearest_matches, tasks, processes, count_rows(tables), "comparing with validation images"
    )
    for path, (rows, matched) in zip(tables, matches, strict=True):
        yield _mark_duplicates(_read(path), held_out, rows, held_out_rows[matched])


def count_rows(tables: list[Path]) -> int:
    """The total number of rows of some Parquet files."""
    total = 0
    for path in tables:
        with io_errors_at(path):
            total += pq.read_metadata(path).num_rows
    return total


def _read(path: Path, columns: list[str] | None = None) -> pa.Table:
    with io_errors_at(path):
        return pq.read_table(path, columns=columns).replace_schema_metadata(None)


def _nearest_matches(task: tuple[Path, np.ndarray, int]) -> tuple[np.ndarray, np.ndarray]:
    """The rows of a table with near-duplicates among the held-out hashes, and the nearest one of each."""
    path, held_out_hashes, max_distance = task
    column = _read(path, ["perceptual_hash"])["perceptual_hash"]
    rows, hashes = non_null_hashes(column)
    # The distance in the upper bits and the row in the lower: the minimum is the first of the nearest ones.
    best = np.full(len(hashes), _NO_MATCH)
    for row, held_out_row, distance in find_near_duplicates(hashes, held_out_hashes, max_distance):
        np.minimum.at(best, row, (distance << 32) | held_out_row)
    advance(len(column))
    has_match = best < _NO_MATCH
    return rows[has_match], best[has_match] & 0xFFFFFFFF


def _mark_duplicates(
    table: pa.Table, held_out: HeldOutImages, near_rows: np.ndarray, near_matches: np.ndarray
) -> pa.Table:
    kept = pc.equal(table["outcome"], KEPT)
    exact_match = pc.index_in(table["sha256"], value_set=held_out.sha256)
    is_exact = pc.and_(kept, pc.is_valid(exact_match))
    matches = np.full(len(table), -1)
    matches[near_rows] = near_matches
    near_match = pa.array(matches, mask=matches < 0)
    is_near = pc.and_(pc.and_not(kept, is_exact), pc.is_valid(near_match))
    outcome = pc.if_else(is_exact, IN_VALIDATION, pc.if_else(is_near, NEAR_VALIDATION, table["outcome"]))
    no_match = pa.scalar(None, pa.int64())
    match = pc.if_else(is_exact, exact_match.cast(pa.int64()), pc.if_else(is_near, near_match, no_match))
    table = table.set_column(table.schema.get_field_index("outcome"), "outcome", outcome)
    match = match.combine_chunks()
    table = table.append_column("duplicate_of", held_out.key.take(match))
    return table.append_column("duplicate_of_split", held_out.split.take(match).cast(pa.string()))
