"""What the download left: a ledger per part of the list, which says where the bytes of each kept link lie."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from cloob.common.accounting import KEPT
from cloob.common.errors import InputError, io_errors_at, raise_if_io_error
from cloob.common.hashing import sha256_file
from cloob.shards.source import InputSample, PackSource

_COLUMNS = ["uid", "outcome", "sha256", "tar", "offset", "length"]
_ROWS = 10_000  # of a piece: half a minute of decoding


@dataclass(frozen=True)
class _LedgerPiece:
    ledger: Path
    links: Path
    group: int  # of the ledger's rows
    start: int
    stamp: str

    def rows(self, _: Path) -> list[InputSample]:
        with io_errors_at(self.ledger), pq.ParquetFile(self.ledger) as file:
            ledger = file.read_row_group(self.group, columns=_COLUMNS).slice(self.start, _ROWS)
        ledger = ledger.filter(pc.equal(ledger["outcome"], KEPT))
        if not ledger.num_rows:
            return []
        least, most = pc.min(ledger["uid"]).as_py(), pc.max(ledger["uid"]).as_py()
        with io_errors_at(self.links):
            links = pq.read_table(self.links, filters=[("uid", ">=", least), ("uid", "<=", most)])
        by_uid = {link["uid"]: link for link in links.to_pylist()}
        return [self._row(row, by_uid) for row in ledger.to_pylist()]

    def _row(self, row: dict[str, Any], links: dict[str, dict[str, Any]]) -> InputSample:
        link = links.get(row["uid"])
        if link is None:
            raise InputError(
                f"{self.ledger}: link {row['uid']} is not in {self.links}; fetch this part again"
            )
        place = (self.ledger.parent / row["tar"], row["offset"], row["length"])
        provenance = {name: value for name, value in link.items() if name not in ("uid", "caption")}
        return InputSample(row["uid"], link["caption"], place, row["sha256"], provenance)


def download_source(ledgers: Sequence[Path], links: Path) -> PackSource:
    """The kept links of all parts, in the order of the list.

    Raises `InputError` where the ledgers do not hold as many rows as the table of links.
    """
    try:
        wanted = pq.read_metadata(links).num_rows
    except (OSError, pa.ArrowException) as error:
        raise_if_io_error(error, links)
        raise InputError(f"{links}: no table of links ({error}); make it again") from None
    urls_sha256 = sha256_file(links)
    pieces, rows, kept = [], 0, 0
    for ledger in ledgers:
        groups, found = _look_into(ledger)
        kept += found
        rows += sum(groups)
        made_of = f"{sha256_file(ledger)} {urls_sha256}"
        pieces += [
            _LedgerPiece(ledger, links, group, start, f"{made_of} {group} {start}")
            for group, length in enumerate(groups)
            for start in range(0, length, _ROWS)
        ]
    if rows != wanted:
        raise InputError(
            f"{links}: the accounting do not balance: {wanted:,} links, but the ledgers have {rows:,} rows; "
            "give the ledgers of all parts, or fetch the part that is missing"
        )
    return PackSource(pieces, kept, {"urls_sha256": urls_sha256})


def _look_into(ledger: Path) -> tuple[list[int], int]:
    """The rows of each of its groups, and how many of all are kept."""
    try:
        with pq.ParquetFile(ledger) as file:
            if missing := set(_COLUMNS) - set(file.schema_arrow.names):
                raise InputError(
                    f"{ledger}: no ledger, it lacks {', '.join(sorted(missing))}; fetch this part again"
                )
            groups = [file.metadata.row_group(group).num_rows for group in range(file.num_row_groups)]
            return groups, pc.sum(pc.equal(file.read(columns=["outcome"])["outcome"], KEPT)).as_py() or 0
    except (OSError, pa.ArrowException) as error:
        raise_if_io_error(error, ledger)
        raise InputError(f"{ledger}: no ledger ({error}); fetch this part again") from None
