"""The ledger of a part: one row per link, in the order of the list, and where the bytes of a kept one lie.

A list is cut into a fixed number of parts, each fetched by a job of its own. Part NNNN leaves its tars below
`parts/NNNN/`, and beside that folder `parts/NNNN_ledger.parquet`, which is all that later stages read.
"""

from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from cloob.common.atomic_files import atomic_write
from cloob.common.errors import InputError, raise_if_io_error

SCHEMA = pa.schema(
    [
        ("uid", pa.string()),
        ("outcome", pa.string()),  # kept, or the reason
        ("http_status", pa.int16()),  # null where no server has answered
        # Of kept rows only: the SHA-256 of the bytes kept, in hexadecimal, and their place, a tar relative to
        # the ledger's folder.
        ("sha256", pa.string()),
        ("round", pa.int8()),  # which decided, from 0
        ("tar", pa.string()),
        ("offset", pa.int64()),
        ("length", pa.int64()),
    ]
)
_ROWS_AT_ONCE = 100_000


def bounds(rows: int, part: int, parts: int) -> tuple[int, int]:
    """First row and the one after the last of a part: consecutive, together all rows, equal up to one row."""
    return rows * part // parts, rows * (part + 1) // parts


def read_part(links: Path, part: int, parts: int) -> pa.Table:
    """Columns uid and url of a part of the table of links, for no more memory than the part needs.

    Raises `InputError` where it is no table of links, or has no such part.
    """
    if not 0 <= part < parts:
        raise InputError(f"--part {part}: of {parts} parts the last is {parts - 1}")
    try:
        with pq.ParquetFile(links) as file:
            first, end = bounds(file.metadata.num_rows, part, parts)
            tables, start = [file.schema_arrow.empty_table().select(["uid", "url"])], 0
            for group in range(file.num_row_groups):
                rows = file.metadata.row_group(group).num_rows
                low, high = max(first - start, 0), min(end - start, rows)
                if low < high:
                    table = file.read_row_group(group, columns=["uid", "url"])
                    tables.append(table.slice(low, high - low))
                start += rows
            return pa.concat_tables(tables).combine_chunks()
    except (OSError, KeyError, pa.ArrowException) as error:
        raise_if_io_error(error, links)
        raise InputError(
            f"{links}: no table of links ({error}); make it with `cloob download cc3m|yfcc15m`"
        ) from None


def write_ledger(path: Path, table: pa.Table) -> None:
    """Write the rows of a part; the columns are those of `SCHEMA`."""
    with atomic_write(path) as beside:
        pq.write_table(table.cast(SCHEMA), beside, row_group_size=_ROWS_AT_ONCE)


def batches(path: Path, columns: Sequence[str]) -> Iterator[pa.RecordBatch]:
    """The rows of a ledger, some at once. Raises `InputError` where it is none."""
    try:
        with pq.ParquetFile(path) as file:
            if not file.schema_arrow.equals(SCHEMA):
                raise InputError(f"{path}: not a ledger of this version; delete it and fetch again")
            yield from file.iter_batches(_ROWS_AT_ONCE, columns=list(columns))
    except (OSError, pa.ArrowException) as error:
        raise_if_io_error(error, path)
        raise InputError(f"{path}: no ledger ({error}); make it with `cloob download fetch`") from None


def counts(ledgers: Sequence[Path]) -> Counter[tuple[str, int | None]]:
    """Rows of all ledgers by outcome and HTTP status."""
    found: Counter[tuple[str, int | None]] = Counter()
    for path in ledgers:
        for batch in batches(path, ("outcome", "http_status")):
            grouped = pa.table(batch).group_by(["outcome", "http_status"]).aggregate([([], "count_all")])
            for row in grouped.to_pylist():
                found[row["outcome"], row["http_status"]] += row["count_all"]
    return found
