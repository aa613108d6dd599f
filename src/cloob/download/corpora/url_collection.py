"""Turn the rows of a list into the URL table: validation, normalization, deduplication, row accounting."""

import os
import shutil
from collections import Counter
from collections.abc import Callable, Iterable
from pathlib import Path

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from cloob.common.accounting import KEPT, RejectedError, write_outcomes
from cloob.common.atomic_files import atomic_write, remove_leftovers
from cloob.common.errors import InputError
from cloob.common.locks import exclusive_dir_lock
from cloob.common.parquet import open_parquet
from cloob.download.corpora.plain_text import to_single_line
from cloob.download.corpora.table_rows import Row
from cloob.download.corpora.url_table import ROWS_PER_GROUP, UrlTableWriter, normalize_url, url_table_schema

_DUCKDB_MEMORY = "512MB"
_ROWS_PER_PASS = 10_000_000
# URLs are compared by a 128-bit digest, one part of the digests after the other: the memory of a join grows
# with its rows, also beyond DuckDB's limit.
_DIGESTS = 'CREATE TABLE candidates AS SELECT "row", md5_number(url) AS digest FROM urls'
# Rows that repeat the URL of an earlier row.
_DUPLICATES_OF_PART = """
    WITH part AS (SELECT "row", digest FROM candidates WHERE digest % ? = ?),
        repeated AS (SELECT digest, min("row") AS first_row FROM part GROUP BY digest HAVING count(*) > 1)
    SELECT "row" FROM part JOIN repeated USING (digest) WHERE "row" > first_row"""


def collect_urls(
    rows: Iterable[Row],
    urls: Path,
    outcomes: Path,
    explain_failure: Callable[[Counter[str]], str],
) -> Counter[str]:
    """Write the URL table and the accounting of all rows; return the rows by outcome.

    Outcomes: kept, malformed_row, not_utf8, empty_caption, empty_url, not_http, invalid_url, duplicate_url
    (the URL of an earlier row). Raises `InputError` with the text of `explain_failure` if no row is kept.
    DuckDB finds the duplicates in passes, using disk space and 0.7 GB of memory (at 20 million rows).
    """
    scratch = urls.with_name(f".{urls.name}.tmp")
    with atomic_write(urls) as temporary, exclusive_dir_lock(scratch):
        remove_leftovers(urls, temporary)
        try:
            candidates = scratch / "candidates.parquet"
            counts = _write_candidates(rows, candidates)
            total = counts.total()
            if not counts[KEPT]:
                raise InputError(explain_failure(counts))
            duplicates = _duplicate_rows(candidates, scratch / "duckdb")
            _write_unique(candidates, duplicates, temporary)
        finally:
            shutil.rmtree(scratch, ignore_errors=True)
    counts[KEPT] -= len(duplicates)
    counts["duplicate_url"] = len(duplicates)
    write_outcomes(outcomes, counts, total)
    return +counts


def _write_candidates(rows: Iterable[Row], path: Path) -> Counter[str]:
    """Write all usable rows, duplicates included; return the rows by outcome."""
    counts: Counter[str] = Counter()
    with pq.ParquetWriter(path, url_table_schema(), use_dictionary=False) as writer:
        table = UrlTableWriter(writer)
        for number, row in enumerate(rows, start=1):
            try:
                url, caption = _validate_row(row)
            except RejectedError as rejected:
                counts[str(rejected)] += 1
                continue
            counts[KEPT] += 1
            table.add(number, url, caption)
        table.flush()
    return counts


def _validate_row(row: Row) -> tuple[str, str]:
    """The normalized URL and caption. Raises `RejectedError` with the outcome of an unusable row."""
    if row is None:
        raise RejectedError("malformed_row")
    try:
        url, caption = row[0].decode("utf-8"), row[1].decode("utf-8")
    except UnicodeDecodeError:
        raise RejectedError("not_utf8") from None
    caption = to_single_line(caption)
    if not caption:
        raise RejectedError("empty_caption")
    return normalize_url(url), caption


def _duplicate_rows(candidates: Path, spill_dir: Path) -> np.ndarray:
    """The numbers, ascending, of rows that repeat an earlier URL. DuckDB spills to disk above 512 MB."""
    settings: dict[str, str | bool | int | float | list[str]] = {
        "memory_limit": _DUCKDB_MEMORY,
        "threads": len(os.sched_getaffinity(0)),  # the cores of this job, not of the machine
        "temp_directory": str(spill_dir),
        "max_temp_directory_size": "1TB",  # unlimited: the system reports a full disk
        "preserve_insertion_order": False,
    }
    try:
        with (
            duckdb.connect(":memory:", config=settings) as connection,
            open_parquet(candidates) as file,
        ):
            # Streamed by Arrow: in a file name DuckDB would expand patterns such as `[1]`.
            schema = pa.schema([("url", pa.string()), ("row", pa.int64())])
            # Without threads, which would read many row groups ahead.
            batches = file.iter_batches(ROWS_PER_GROUP, columns=schema.names, use_threads=False)
            reader = pa.RecordBatchReader.from_batches(schema, batches)
            connection.register("urls", reader)
            connection.execute(_DIGESTS)
            passes = -(-file.metadata.num_rows // _ROWS_PER_PASS)
            duplicates = [
                connection.execute(_DUPLICATES_OF_PART, [passes, part]).fetchnumpy()["row"]
                for part in range(passes)
            ]
    except duckdb.Error as error:
        # An `OSError` with DuckDB's message, so that a full disk is recognized.
        raise OSError(str(error)) from error
    return np.sort(np.concatenate(duplicates).astype(np.int64))


def _write_unique(candidates: Path, duplicates: np.ndarray, path: Path) -> None:
    """Copy the candidates without the rows in `duplicates` (ascending)."""
    with (
        open_parquet(candidates) as source,
        pq.ParquetWriter(path, url_table_schema(), use_dictionary=False) as writer,
    ):
        for batch in source.iter_batches(ROWS_PER_GROUP, use_threads=False):
            rows = batch["row"].to_numpy()
            unique = np.ones(len(rows), bool)
            first, end = np.searchsorted(duplicates, rows[0]), np.searchsorted(duplicates, rows[-1], "right")
            unique[np.searchsorted(rows, duplicates[first:end])] = False
            writer.write_table(pa.table(batch.filter(pa.array(unique))))
