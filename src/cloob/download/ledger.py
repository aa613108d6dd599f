"""The ledger of a part: one row per URL in list order, with the location of each kept image's bytes.

A URL table is split into a fixed number of parts, each downloaded by a separate job. Part NNNN writes its
tars below `parts/NNNN/` and, next to that folder, `parts/NNNN_ledger.parquet`, the only file that later
stages read.
"""

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from hashlib import sha256
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from cloob.common.atomic_files import atomic_write
from cloob.common.errors import InputError, one_line, raise_if_io_error
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
_URLS = b"urls"  # metadata: see `describe_urls`
_DESCRIPTION = re.compile("([0-9]{1,9}) of ([0-9]{1,9}), sha256 [0-9a-f]{64}")


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
            f"{url_table}: not a URL table ({one_line(error)}); create it with `cloob download urls`"
        ) from None


def describe_urls(urls: pa.Table, part: int, num_parts: int) -> str:
    """The part, and a hash of its URLs in order: uids are row numbers, which other lists have, too."""
    content = sha256()
    for batch in urls.select(["uid", "url"]).to_batches(_BATCH_ROWS):
        rows = zip(batch["uid"].to_pylist(), batch["url"].to_pylist(), strict=True)
        content.update("".join(f"{uid}\t{url}\n" for uid, url in rows).encode())
    return f"{part} of {num_parts}, sha256 {content.hexdigest()}"


def write_ledger(path: Path, table: pa.Table, urls: str | None = None) -> None:
    """Write the rows of a part, with the columns of `SCHEMA`; `urls` is the result of `describe_urls`."""
    table = table.cast(SCHEMA).replace_schema_metadata({_URLS: urls} if urls else None)
    with atomic_write(path) as temporary:
        pq.write_table(table, temporary, row_group_size=_BATCH_ROWS)


def check_urls(ledger: Path, url_table: Path) -> None:
    """Raise `InputError` if a ledger is of other URLs than those of its part of the table.

    Ledgers of older versions do not tell.
    """
    try:
        with open_parquet(ledger) as file:
            description = (file.schema_arrow.metadata or {}).get(_URLS)
    except (OSError, pa.ArrowException) as error:
        raise _not_a_ledger(ledger, error) from None
    if description is None:
        return
    text = description.decode("utf-8", errors="replace")
    part = _DESCRIPTION.fullmatch(text)
    bounds = (int(part[1]), int(part[2])) if part else (0, 0)
    if not bounds[0] < bounds[1] or describe_urls(read_part(url_table, *bounds), *bounds) != text:
        raise InputError(
            f"{ledger}: downloaded from other URLs than those of {url_table}; delete it and download again"
        )


def read_ledger_batches(path: Path, columns: Sequence[str]) -> Iterator[pa.RecordBatch]:
    """Stream the rows of a ledger. Raises `InputError` if the file is not one."""
    try:
        with open_parquet(path) as file:
            if not file.schema_arrow.equals(SCHEMA):
                raise InputError(f"{path}: not a ledger of this version; delete it and download again")
            yield from file.iter_batches(_BATCH_ROWS, columns=list(columns))
    except (OSError, pa.ArrowException) as error:
        raise _not_a_ledger(path, error) from None


def _not_a_ledger(path: Path, error: Exception) -> InputError:
    raise_if_io_error(error, path)
    return InputError(f"{path}: not a ledger ({one_line(error)}); create it with `cloob download fetch`")


def count_outcomes(ledgers: Sequence[Path]) -> Counter[tuple[str, int | None]]:
    """The number of rows in all ledgers by outcome and HTTP status."""
    counts: Counter[tuple[str, int | None]] = Counter()
    for path in ledgers:
        for batch in read_ledger_batches(path, ("outcome", "http_status")):
            grouped = pa.table(batch).group_by(["outcome", "http_status"]).aggregate([([], "count_all")])
            for row in grouped.to_pylist():
                counts[row["outcome"], row["http_status"]] += row["count_all"]
    return counts
