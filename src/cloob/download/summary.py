"""Row accounting of a download: the ledgers of all parts, merged and checked against the URL table."""

import csv
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

import pyarrow as pa

from cloob.common.accounting import KEPT, read_outcomes, write_outcomes
from cloob.common.atomic_files import atomic_write
from cloob.common.errors import InputError
from cloob.download.ledger import check_urls, count_outcomes, read_ledger_batches, read_part

COLUMNS = ("split", "stage", "outcome", "http_status", "rows")


def merge_outcomes(url_table: Path, ledgers: Sequence[Path], outcomes: Path) -> Counter[str]:
    """Write the number of URLs of all parts by outcome, and return it.

    Raises `InputError` unless the concatenated ledgers match the URL table row by row, in uid and URL.
    """
    total = 0
    for part, ledger in enumerate(ledgers):
        expected = read_part(url_table, part, len(ledgers))["uid"].combine_chunks()
        batches = [batch["uid"] for batch in read_ledger_batches(ledger, ("uid",))]
        actual = pa.concat_arrays([pa.array([], pa.string()), *batches])
        if not actual.equals(expected):
            raise InputError(
                f"{ledger}: its {len(actual):,} rows do not match the {len(expected):,} of part {part} of "
                f"{len(ledgers)} of {url_table}; delete it and download again"
            )
        check_urls(ledger, url_table)
        total += len(actual)
    counts: Counter[str] = Counter()
    for (outcome, _), rows in count_outcomes(ledgers).items():
        counts[outcome] += rows
    write_outcomes(outcomes, counts, total)
    return counts


def write_summary(
    list_outcomes: Mapping[str, Path], ledgers: Mapping[str, Sequence[Path]], path: Path
) -> Counter[str]:
    """Write the outcome of every row of a corpus's URL lists; return the rows by final outcome.

    `list_outcomes` and `ledgers` are given per split. Columns: split, stage (`list` or `fetch`), outcome,
    http_status (empty if none), rows; within a split and stage sorted by `kept` first, then by frequency.
    Raises `InputError` if the ledgers do not account for every URL that was kept from the list.
    """
    if incomplete := list_outcomes.keys() ^ ledgers.keys():
        names = ", ".join(sorted(incomplete))
        raise InputError(f"{path}: {names}: give both the list's outcomes and the ledgers")
    lines: list[tuple[str, str, str, int | None, int]] = []
    final: Counter[str] = Counter()
    for split, outcomes in list_outcomes.items():
        from_list = {(outcome, None): rows for outcome, rows in read_outcomes(outcomes).items()}
        from_fetch = count_outcomes(ledgers[split])
        num_urls = from_list.get((KEPT, None), 0)
        if num_urls != from_fetch.total():
            raise InputError(
                f"{path}: the row accounting of {split} does not balance: {num_urls:,} URLs in {outcomes}, "
                f"{from_fetch.total():,} outcomes in the ledgers; delete these and download again"
            )
        for stage, counts in (("list", from_list), ("fetch", from_fetch)):
            lines += [
                (split, stage, outcome, status, rows)
                for (outcome, status), rows in sorted(
                    counts.items(),
                    key=lambda item: (item[0][0] != KEPT, -item[1], item[0][0], item[0][1] or 0),
                )
            ]
            for (outcome, _), rows in counts.items():
                final[outcome] += rows if (stage, outcome) != ("list", KEPT) else 0
    with atomic_write(path) as temporary, temporary.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(COLUMNS)
        writer.writerows(lines)
    return final
