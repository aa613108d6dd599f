"""Row accounting: CSV files `outcome,rows` of a stage, `kept` first, that sum to the number of input rows."""

import csv
from collections.abc import Mapping
from pathlib import Path

from cloob.common.atomic_files import atomic_write
from cloob.common.errors import InputError, io_errors_at

KEPT = "kept"


class RejectedError(Exception):
    """A row is rejected; the message is its outcome, such as `too_small`."""


def write_outcomes(path: Path, counts: Mapping[str, int], total: int) -> None:
    """Write the number of rows by outcome: `kept` first, then the reasons by decreasing frequency.

    Raises `InputError` if the counts do not sum to `total`, the number of input rows.
    """
    if sum(counts.values()) != total:
        raise InputError(
            f"{path}: the row accounting does not balance: {total:,} input rows, {sum(counts.values()):,} "
            "outcomes; delete this stage's output and run it again"
        )
    with atomic_write(path) as temporary, temporary.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["outcome", "rows"])
        writer.writerow([KEPT, counts.get(KEPT, 0)])
        writer.writerows(_reasons(counts))


def read_outcomes(path: Path) -> dict[str, int]:
    """Read a file written by `write_outcomes`. Raises `InputError` if it is missing or has another format."""
    try:
        with io_errors_at(path), path.open(encoding="utf-8-sig", newline="") as file:
            return {row["outcome"]: int(row["rows"]) for row in csv.DictReader(file)}
    except FileNotFoundError:
        raise InputError(f"{path}: no such file; the previous stage writes it") from None
    except (KeyError, TypeError, ValueError, csv.Error):
        raise InputError(
            f"{path}: not a table of outcomes (columns outcome,rows); delete it and run again"
        ) from None


def summary_line(counts: Mapping[str, int]) -> str:
    """One line for the log: `1,234 of 2,000 kept; http_404 700, timeout 66`."""
    rejected = ", ".join(f"{outcome} {rows:,}" for outcome, rows in _reasons(counts)) or "none rejected"
    return f"{counts.get(KEPT, 0):,} of {sum(counts.values()):,} kept; {rejected}"


def _reasons(counts: Mapping[str, int]) -> list[tuple[str, int]]:
    """The outcomes other than `kept`, by decreasing frequency, then by name."""
    reasons = [(outcome, rows) for outcome, rows in counts.items() if outcome != KEPT and rows]
    return sorted(reasons, key=lambda reason: (-reason[1], reason[0]))
