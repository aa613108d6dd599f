"""The accounting of a stage: a CSV `outcome,rows`, `kept` first, that sums to what came in."""

import csv
from collections.abc import Mapping
from pathlib import Path

from cloob.common.atomic_files import atomic_write
from cloob.common.errors import InputError, io_errors_at

KEPT = "kept"


class RejectedError(Exception):
    """A row that goes no further; the message is its outcome."""


def write_outcomes(path: Path, rows: Mapping[str, int], total: int) -> None:
    """Write how many of `total` rows met which outcome: `kept` first, then reasons, the commonest first.

    Raises `InputError` where the outcomes do not sum to `total`.
    """
    if sum(rows.values()) != total:
        raise InputError(
            f"{path}: the accounting do not balance: {total:,} rows came in, {sum(rows.values()):,} have a outcome; "
            "delete this stage's output and run it again"
        )
    reasons = sorted((-count, outcome) for outcome, count in rows.items() if outcome != KEPT and count)
    with atomic_write(path) as beside, beside.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["outcome", "rows"])
        writer.writerow([KEPT, rows.get(KEPT, 0)])
        writer.writerows([outcome, -count] for count, outcome in reasons)


def read_outcomes(path: Path) -> dict[str, int]:
    """The outcomes of a stage as `write_outcomes` left them."""
    try:
        with io_errors_at(path), path.open(encoding="utf-8-sig", newline="") as file:
            return {row["outcome"]: int(row["rows"]) for row in csv.DictReader(file)}
    except FileNotFoundError:
        raise InputError(f"{path}: no such file; it is written by the stage before") from None
    except (KeyError, TypeError, ValueError):
        raise InputError(
            f"{path}: not a table of outcomes (columns outcome,rows); delete it and run again"
        ) from None


def summary_line(rows: Mapping[str, int]) -> str:
    """One line for the log: `1,234 of 2,000 kept; http_404 700, timeout 66`."""
    reasons = sorted((-count, outcome) for outcome, count in rows.items() if outcome != KEPT and count)
    refused = ", ".join(f"{outcome} {-count:,}" for count, outcome in reasons) or "none refused"
    return f"{rows.get(KEPT, 0):,} of {sum(rows.values()):,} kept; {refused}"
