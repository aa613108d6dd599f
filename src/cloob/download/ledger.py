"""The ledger of a part: one row per URL in list order, with the location of each kept image's bytes.

A URL table is split into a fixed number of parts, each downloaded by a separate job. Part NNNN writes its
tars below `parts/NNNN/` and, next to that folder, `parts/NNNN_ledger.parquet`, the only file that later
stages read.
"""

from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from cloob.common.atomic_files import atomic_write
from cloob.common.errors import InputError, raise_if_io_error
from cloob.common.parquet import open_parquet

SCHEMA = pa.schema(
    [
        ("uid", pa.string()),
        ("outcome", pa.string()),  # `kept`, or why the URL was rejected
        ("http_status", pa.int16()),  # null if there was no response
        ("sha256", pa.string()),  # of the stored bytes, hexadecimal; null unless kept
        ("round", pa.int8()),  # that produced the outcome, from 0
        # Location of the stored bytes, null unless kept; the tar is relative to the ledger's folder.
        ("tar", pa.string()),
        ("offset", pa.int64()),
        ("length", pa.int64()),
    ]
)
_BATCH_ROWS = 100_000


def part_bounds(num_rows: int, part: int, num_parts: int) -> tuple[int, int]:
    """Start and end row of a part: parts are consecutive, cover all rows, and differ by at most one row."""
    return num_rows * part // num_parts, num_rows * (part + 1) // num_parts


def read_part(url_table: Path, part: int, num_parts: int) -> pa.Table:
    """Columns uid and url of a part of the URL table, in memory proportional to the part.

    Raises `InputError` if the file is not a URL table or the part does not exist.
    """
    if not 0 <= part < num_parts:
        raise InputError(f"--part {part}: the last of {num_parts} parts is {num_parts - 1}")
    try:
        with open_parquet(url_table) as file:
            start, end = part_bounds(file.metadata.num_rows, part, num_parts)
            tables, group_start = [file.schema_arrow.empty_table().select(["uid", "url"])], 0
            for group in range(file.num_row_groups):
                rows = file.metadata.row_group(group).num_rows
                low, high = max(start - group_start, 0), min(end - group_start, rows)
                if low < high:
                    table = file.read_row_group(group, columns=["uid", "url"])
                    tables.append(table.slice(low, high - low))
                group_start += rows
            return pa.concat_tables(tables).combine_chunks()
    except (OSError, KeyError, pa.ArrowException) as error:
        raise_if_io_error(error, url_table)
        raise InputError(
            f"{url_table}: not a URL table ({error}); create it with `cloob download urls`"
        ) from None


def write_ledger(path: Path, table: pa.Table) -> None:
    """Write the rows of a part; the columns are those of `SCHEMA`."""
    with atomic_write(path) as temporary:
        pq.write_table(table.cast(SCHEMA), temporary, row_group_size=_BATCH_ROWS)


def read_ledger_batches(path: Path, columns: Sequence[str]) -> Iterator[pa.RecordBatch]:
    """Stream the rows of a ledger. Raises `InputError` if the file is not one."""
    try:
        with open_parquet(path) as file:
            if not file.schema_arrow.equals(SCHEMA):
                raise InputError(f"{path}: not a ledger of this version; delete it and download again")
            yield from file.iter_batches(_BATCH_ROWS, columns=list(columns))
    except (OSError, pa.ArrowException) as error:
        raise_if_io_error(error, path)
        raise InputError(f"{path}: not a ledger ({error}); create it with `cloob download fetch`") from None


def count_outcomes(ledgers: Sequence[Path]) -> Counter[tuple[str, int | None]]:
    """The number of rows in all ledgers by outcome and HTTP status."""
    counts: Counter[tuple[str, int | None]] = Counter()
    for path in ledgers:
        for batch in read_ledger_batches(path, ("outcome", "http_status")):
            grouped = pa.table(batch).group_by(["outcome", "http_status"]).aggregate([([], "count_all")])
            for row in grouped.to_pylist():
                counts[row["outcome"], row["http_status"]] += row["count_all"]
    return counts
