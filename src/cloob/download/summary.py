"""The accounts of a download: the ledgers of all parts merged, and checked against the list."""

import csv
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

import pyarrow as pa

from cloob.common.accounting import KEPT, read_outcomes, write_outcomes
from cloob.common.atomic_files import atomic_write
from cloob.common.errors import InputError
from cloob.download.ledger import batches, counts, read_part

COLUMNS = ("split", "stage", "outcome", "http_status", "rows")


def merge_outcomes(links: Path, ledgers: Sequence[Path], outcomes: Path) -> Counter[str]:
    """Write the links of all parts by outcome; return them.

    Raises `InputError` where the ledgers, one after the other, are not the list row by row.
    """
    total = 0
    for part, ledger in enumerate(ledgers):
        listed = read_part(links, part, len(ledgers))["uid"].combine_chunks()
        met = pa.concat_arrays(
            [pa.array([], pa.string()), *(batch["uid"] for batch in batches(ledger, ("uid",)))]
        )
        if not met.equals(listed):
            raise InputError(
                f"{ledger}: its {len(met):,} rows are not the {len(listed):,} of part {part} of "
                f"{len(ledgers)} of {links}; delete it and fetch again"
            )
        total += len(met)
    found: Counter[str] = Counter()
    for (outcome, _), rows in counts(ledgers).items():
        found[outcome] += rows
    write_outcomes(outcomes, found, total)
    return found


def write_summary(
    list_outcomes: Mapping[str, Path], ledgers: Mapping[str, Sequence[Path]], path: Path
) -> Counter[str]:
    """Write where every row of a corpus's lists ended; return the rows by outcome.

    `list_outcomes` and `ledgers` are those of each split. Columns split, stage (`list`, `fetch`), outcome,
    http_status (empty where there is none), rows; of each split and stage `kept` first, then the commonest.
    Raises `InputError` where not every link that the list kept was fetched or refused.
    """
    if alone := list_outcomes.keys() ^ ledgers.keys():
        raise InputError(f"{path}: {', '.join(sorted(alone))}: give both the list's outcomes and the ledgers")
    lines: list[tuple[str, str, str, int | None, int]] = []
    ends: Counter[str] = Counter()
    for split, outcomes in list_outcomes.items():
        listed, fetched = read_outcomes(outcomes), counts(ledgers[split])
        if listed.get(KEPT, 0) != sum(fetched.values()):
            raise InputError(
                f"{path}: the accounting of {split} do not balance: {listed.get(KEPT, 0):,} links in {outcomes}, "
                f"{sum(fetched.values()):,} outcomes in the ledgers; delete these and fetch again"
            )
        of_list = {(outcome, None): rows for outcome, rows in listed.items()}
        for stage, found in (("list", of_list), ("fetch", fetched)):
            lines += [
                (split, stage, outcome, status, rows)
                for (outcome, status), rows in sorted(
                    found.items(),
                    key=lambda item: (item[0][0] != KEPT, -item[1], item[0][0], item[0][1] or 0),
                )
            ]
            for (outcome, _), rows in found.items():
                ends[outcome] += rows if (stage, outcome) != ("list", KEPT) else 0
    with atomic_write(path) as beside, beside.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(COLUMNS)
        writer.writerows(lines)
    return ends
