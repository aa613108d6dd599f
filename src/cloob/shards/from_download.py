"""Read the output of `cloob download`: one ledger per part, with the byte range of each downloaded image."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from cloob.common.accounting import KEPT
from cloob.common.errors import InputError, one_line, raise_if_io_error
from cloob.common.hashing import sha256_file
from cloob.common.parquet import open_parquet
from cloob.download.ledger import SCHEMA, check_urls
from cloob.shards.source import InputSample, PackSource

_COLUMNS = ["uid", "outcome", "sha256", "tar", "offset", "length"]
_ROWS_PER_CHUNK = 10_000  # half a minute of decoding


@dataclass(frozen=True)
class _LedgerChunk:
    ledger: Path
    urls: Path
    uid_ranges: tuple[tuple[str, str], ...]  # of the row groups of `urls`
    row_group: int
    start: int  # first row within the row group
    fingerprint: str

    def samples(self, _: Path) -> list[InputSample]:
        with _damage_as_input_error(self.ledger, "download this part again"):
            with open_parquet(self.ledger) as file:
                ledger = file.read_row_group(self.row_group, columns=_COLUMNS)
            ledger = ledger.slice(self.start, _ROWS_PER_CHUNK)
            rows = ledger.filter(pc.equal(ledger["outcome"], KEPT)).to_pylist()
        if not rows:
            return []
        if any(None in row.values() for row in rows):
            raise InputError(f"{self.ledger}: an image without a location; download this part again")
        uids = [row["uid"] for row in rows]
        with _damage_as_input_error(self.urls, "create it again"):
            url_rows = _read_url_rows(self.urls, self.uid_ranges, uids)
        return [self._sample(row, url_rows) for row in rows]

    def _sample(self, row: dict[str, Any], url_rows: dict[str, dict[str, Any]]) -> InputSample:
        url_row = url_rows.get(row["uid"])
        if url_row is None:
            raise InputError(
                f"{self.ledger}: uid {row['uid']} is not in {self.urls}; download this part again"
            )
        image = (self.ledger.parent / row["tar"], row["offset"], row["length"])
        provenance = {name: value for name, value in url_row.items() if name not in ("uid", "caption")}
        return InputSample(row["uid"], url_row["caption"], image, row["sha256"], provenance)


def _uid_ranges(url_table: Path) -> tuple[tuple[str, str], ...]:
    """The first and last uid of each row group.

    By reading the uids: pyarrow aborts the process if it reads statistics of damaged metadata.
    """
    ranges = []
    with open_parquet(url_table) as file:
        for group in range(file.num_row_groups):
            limits = pc.min_max(file.read_row_group(group, columns=["uid"])["uid"]).as_py()
            ranges.append((limits["min"] or "", limits["max"] or ""))
    return tuple(ranges)


def _read_url_rows(
    url_table: Path, uid_ranges: Sequence[tuple[str, str]], uids: Sequence[str]
) -> dict[str, dict[str, Any]]:
    """The rows of the uids, by uid; the table may be in another order (`yfcc100m` from the SQLite dump).

    `pq.read_table` with filters would wait forever for a thread that failed because a page is damaged.
    """
    rows: dict[str, dict[str, Any]] = {}
    first, last, wanted = min(uids), max(uids), pa.array(uids)
    with open_parquet(url_table) as file:
        for group, (lowest, highest) in enumerate(uid_ranges):
            if lowest <= last and first <= highest:
                table = file.read_row_group(group)
                table = table.filter(pc.is_in(table["uid"], value_set=wanted))
                rows |= {row["uid"]: row for row in table.to_pylist()}
    return rows


@contextmanager
def _damage_as_input_error(path: Path, remedy: str) -> Iterator[None]:
    """Raise `InputError` for damaged pages of a Parquet file, `OSError` if the system failed to read it."""
    try:
        yield
    except (OSError, ValueError, pa.ArrowException) as error:
        raise_if_io_error(error, path)
        raise InputError(f"{path}: damaged ({one_line(error)}); {remedy}") from None


def download_source(ledgers: Sequence[Path], urls: Path) -> PackSource:
    """The kept images of all parts, in the order of the URL table `urls`.

    Raises `InputError` if the ledgers and the URL table do not have the same number of rows, or a ledger is
    of other URLs.
    """
    try:
        metadata = pq.read_metadata(urls)
        schema = metadata.schema.to_arrow_schema()
    except (OSError, pa.ArrowException) as error:
        raise_if_io_error(error, urls)
        raise InputError(f"{urls}: not a URL table ({one_line(error)}); create it again") from None
    for name in ("uid", "caption"):
        if name not in schema.names or schema.field(name).type != pa.string():
            raise InputError(f"{urls}: not a URL table (no text in the column {name}); create it again")
    num_urls, urls_sha256 = metadata.num_rows, sha256_file(urls)
    with _damage_as_input_error(urls, "create it again"):
        uid_ranges = _uid_ranges(urls)
    chunks, num_rows, num_kept = [], 0, 0
    for ledger in ledgers:
        group_sizes, kept = _inspect_ledger(ledger)
        check_urls(ledger, urls)
        num_rows += sum(group_sizes)
        num_kept += kept
        fingerprint = f"{ledger} {sha256_file(ledger)} {urls_sha256}"
        chunks += [
            _LedgerChunk(ledger, urls, uid_ranges, group, start, f"{fingerprint} {group} {start}")
            for group, size in enumerate(group_sizes)
            for start in range(0, size, _ROWS_PER_CHUNK)
        ]
    if num_rows != num_urls:
        raise InputError(
            f"{urls}: the row accounting does not balance: {num_urls:,} URLs, but {num_rows:,} rows in the "
            "ledgers; give the ledgers of all parts, or download the missing part"
        )
    return PackSource(chunks, num_kept, {"urls_sha256": urls_sha256})


def _inspect_ledger(ledger: Path) -> tuple[list[int], int]:
    """The size of each row group of a ledger, and its number of kept rows."""
    try:
        with open_parquet(ledger) as file:
            if missing := set(_COLUMNS) - set(file.schema_arrow.names):
                raise InputError(
                    f"{ledger}: not a ledger (missing columns: {', '.join(sorted(missing))}); "
                    "download this part again"
                )
            for name in _COLUMNS:
                if (kind := file.schema_arrow.field(name).type) != SCHEMA.field(name).type:
                    raise InputError(f"{ledger}: not a ledger ({name} is {kind}); download this part again")
            group_sizes = [file.metadata.row_group(group).num_rows for group in range(file.num_row_groups)]
            is_kept = pc.equal(file.read(columns=["outcome"])["outcome"], KEPT)
            return group_sizes, pc.sum(is_kept).as_py() or 0
    except (OSError, pa.ArrowException) as error:
        raise_if_io_error(error, ledger)
        raise InputError(f"{ledger}: not a ledger ({one_line(error)}); download this part again") from None
