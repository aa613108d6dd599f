"""The global shuffle: sort all kept samples by their shuffle key in bounded memory (an external bucket sort).

The rows are distributed by key into buckets on disk and each bucket is sorted. The result, the plan, has one
row group per shard. Only metadata is moved; the images stay where they are stored.
"""

from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from cloob.common.accounting import KEPT
from cloob.common.atomic_files import atomic_write
from cloob.common.errors import InputError, io_errors_at
from cloob.shards.validate import VALIDATION_SCHEMA

_ROWS_PER_BUCKET = 100_000  # 0.7 KB each
_MAX_BUCKETS = 256  # open files
_BUFFERED_ROWS = 2048  # per bucket before a write: 256 × 2,048 × 0.7 KB = 0.4 GB
LEDGER_SCHEMA = pa.schema(
    [
        ("uid", pa.string()),
        ("outcome", pa.string()),
        ("sha256", pa.string()),
        ("duplicate_of", pa.string()),  # key of the image of a validation split
        ("duplicate_of_split", pa.string()),  # that split: `cc3m/validation`
    ]
)


def shuffle(
    tables: Iterable[pa.Table], num_rows: int, plan: Path, ledger: Path, samples_per_shard: int
) -> Counter[str]:
    """Write the plan (one row group per shard) and the ledger (the outcome of every row); count outcomes.

    `tables` have `num_rows` rows in total, and the columns of both schemas. Raises `InputError` if a row
    occurs twice.
    """
    outcomes: Counter[str] = Counter()
    num_buckets = min(_MAX_BUCKETS, -(-num_rows // _ROWS_PER_BUCKET))
    paths = [plan.with_name(f"bucket_{bucket:03d}.parquet") for bucket in range(num_buckets)]
    buckets = [_Bucket(path) for path in paths]
    with atomic_write(ledger) as temporary, pq.ParquetWriter(temporary, LEDGER_SCHEMA) as ledger_writer:
        for table in tables:
            ledger_writer.write_table(table.select(LEDGER_SCHEMA.names))
            for outcome in pc.value_counts(table["outcome"]).to_pylist():
                outcomes[outcome["values"]] += outcome["counts"]
            kept = table.filter(pc.equal(table["outcome"], KEPT))
            _distribute(kept.select(VALIDATION_SCHEMA.names), buckets)
    for bucket in buckets:
        bucket.close()
    with (
        atomic_write(plan) as temporary,
        pq.ParquetWriter(temporary, VALIDATION_SCHEMA, compression="zstd") as plan_writer,
    ):
        for shard in _rechunk(map(_read_sorted, paths), samples_per_shard):
            plan_writer.write_table(shard, row_group_size=samples_per_shard)
    for path in paths:
        path.unlink()
    return outcomes


class _Bucket:
    """Rows of a contiguous range of shuffle keys, on disk except for a small buffer."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._writer = pq.ParquetWriter(path, VALIDATION_SCHEMA, compression="zstd")
        self._buffer: list[pa.Table] = []
        self._buffered_rows = 0

    def add(self, rows: pa.Table) -> None:
        self._buffer.append(rows)
        self._buffered_rows += len(rows)
        if self._buffered_rows >= _BUFFERED_ROWS:
            self._flush()

    def close(self) -> None:
        self._flush()
        with io_errors_at(self._path):
            self._writer.close()

    def _flush(self) -> None:
        if self._buffer:
            with io_errors_at(self._path):
                self._writer.write_table(pa.concat_tables(self._buffer))
        self._buffer, self._buffered_rows = [], 0


def _distribute(table: pa.Table, buckets: list[_Bucket]) -> None:
    """Add each row to its bucket; the buckets divide the range of shuffle keys evenly."""
    if not len(table):
        return
    upper_bits = table["shuffle_key"].to_numpy() >> np.uint64(32)  # so that the product fits into 64 bits
    bucket_of_row = (upper_bits * np.uint64(len(buckets))) >> np.uint64(32)
    order = np.argsort(bucket_of_row, kind="stable")
    table = table.take(pa.array(order))
    ends = np.cumsum(np.bincount(bucket_of_row, minlength=len(buckets)))
    for bucket, start, end in zip(buckets, [0, *ends[:-1]], ends, strict=True):
        if end > start:
            bucket.add(table.slice(start, end - start))


def _read_sorted(bucket: Path) -> pa.Table:
    with io_errors_at(bucket):
        table = pq.read_table(bucket)
    table = table.sort_by([("shuffle_key", "ascending"), ("uid", "ascending")])
    uids = table["uid"].combine_chunks()
    is_repeated = pc.equal(uids[1:], uids[:-1])
    if pc.any(is_repeated).as_py():
        raise InputError(
            f"row {uids[1:].filter(is_repeated)[0]} occurs twice; give the ledger of each part once"
        )
    return table


def _rechunk(tables: Iterator[pa.Table], size: int) -> Iterator[pa.Table]:
    """The same rows in tables of `size` rows; the last one may be shorter."""
    rest = VALIDATION_SCHEMA.empty_table()
    for table in tables:
        rest = pa.concat_tables([rest, table])
        while len(rest) >= size:
            yield rest.slice(0, size)
            rest = rest.slice(size)
    if len(rest):
        yield rest
