"""The global order: all kept samples by their position, with memory for a bucket of them at a time.

The rows are dealt by position into buckets on disk, each bucket is sorted, and the plan has one row group per
shard. Only texts and places are moved: the images stay where they lie.
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

# Rows of a bucket, 0.7 KB each.
_BUCKET = 100_000
_BUCKETS = 256  # at most: open files
# Rows that wait for a bucket's file: 256 × 2 048 × 0.7 KB = 0.4 GB.
_WAITING = 2048
LEDGER_SCHEMA = pa.schema(
    [
        ("uid", pa.string()),
        ("outcome", pa.string()),
        ("sha256", pa.string()),
        ("duplicate_of", pa.string()),  # the image of the validation split, by its key
    ]
)


def shuffle(
    tables: Iterable[pa.Table], rows: int, plan: Path, ledger: Path, samples_per_shard: int
) -> Counter[str]:
    """Write the plan, a row group per shard in the global order, and the outcome of every row; return the outcomes.

    `tables` hold `rows` verdicts in all, with the column `duplicate_of` besides. Raises `InputError` where a
    row came in twice.
    """
    outcomes: Counter[str] = Counter()
    number = min(_BUCKETS, -(-rows // _BUCKET))
    paths = [plan.with_name(f"bucket_{bucket:03d}.parquet") for bucket in range(number)]
    buckets = [_Bucket(path) for path in paths]
    with atomic_write(ledger) as beside, pq.ParquetWriter(beside, LEDGER_SCHEMA) as accounting:
        for table in tables:
            accounting.write_table(table.select(LEDGER_SCHEMA.names))
            for outcome in pc.value_counts(table["outcome"]).to_pylist():
                outcomes[outcome["values"]] += outcome["counts"]
            _deal(table.filter(pc.equal(table["outcome"], KEPT)).select(VALIDATION_SCHEMA.names), buckets)
    for bucket in buckets:
        bucket.close()
    with (
        atomic_write(plan) as beside,
        pq.ParquetWriter(beside, VALIDATION_SCHEMA, compression="zstd") as writer,
    ):
        for shard in _cut(map(_sorted, paths), samples_per_shard):
            writer.write_table(shard, row_group_size=samples_per_shard)
    for path in paths:
        path.unlink()
    return outcomes


class _Bucket:
    """Rows of neighboring positions, on disk but for the last few."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._writer = pq.ParquetWriter(path, VALIDATION_SCHEMA, compression="zstd")
        self._waiting: list[pa.Table] = []
        self._rows = 0

    def add(self, rows: pa.Table) -> None:
        self._waiting.append(rows)
        self._rows += len(rows)
        if self._rows >= _WAITING:
            self._flush()

    def close(self) -> None:
        self._flush()
        with io_errors_at(self._path):
            self._writer.close()

    def _flush(self) -> None:
        if self._waiting:
            with io_errors_at(self._path):
                self._writer.write_table(pa.concat_tables(self._waiting))
        self._waiting, self._rows = [], 0


def _deal(table: pa.Table, buckets: list[_Bucket]) -> None:
    """Each row to its bucket: as many parts of the range of positions as there are buckets."""
    if not len(table):
        return
    places = table["position"].to_numpy() >> np.uint64(32)  # so that the product fits into 64 bits
    which = (places * np.uint64(len(buckets))) >> np.uint64(32)
    order = np.argsort(which, kind="stable")
    table, ends = table.take(pa.array(order)), np.cumsum(np.bincount(which, minlength=len(buckets)))
    for bucket, start, end in zip(buckets, [0, *ends[:-1]], ends, strict=True):
        if end > start:
            bucket.add(table.slice(start, end - start))


def _sorted(bucket: Path) -> pa.Table:
    with io_errors_at(bucket):
        table = pq.read_table(bucket)
    table = table.sort_by([("position", "ascending"), ("uid", "ascending")])
    uids = table["uid"].combine_chunks()
    twice = pc.equal(uids[1:], uids[:-1])
    if pc.any(twice).as_py():
        raise InputError(f"row {uids[1:].filter(twice)[0]} came in twice; give the ledger of each part once")
    return table


def _cut(tables: Iterator[pa.Table], size: int) -> Iterator[pa.Table]:
    """The same rows in tables of `size`, the last one shorter."""
    rest = VALIDATION_SCHEMA.empty_table()
    for table in tables:
        rest = pa.concat_tables([rest, table])
        while len(rest) >= size:
            yield rest.slice(0, size)
            rest = rest.slice(size)
    if len(rest):
        yield rest
