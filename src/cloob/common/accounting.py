"""The books of a stage: a CSV `fate,rows`, `kept` first, that sums to what came in."""

import csv
from collections.abc import Mapping
from pathlib import Path

from cloob.common.errors import InputError, naming
from cloob.common.files import replacing

KEPT = "kept"


class RefusedError(Exception):
    """A row that goes no further; the message is its fate."""


def write_fates(path: Path, rows: Mapping[str, int], total: int) -> None:
    """Write how many of `total` rows met which fate: `kept` first, then reasons, the commonest first.

    Raises `InputError` where the fates do not sum to `total`.
    """
    if sum(rows.values()) != total:
        raise InputError(
            f"{path}: the books do not balance: {total:,} rows came in, {sum(rows.values()):,} have a fate; "
            "delete this stage's output and run it again"
        )
    reasons = sorted((-count, fate) for fate, count in rows.items() if fate != KEPT and count)
    with replacing(path) as beside, beside.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["fate", "rows"])
        writer.writerow([KEPT, rows.get(KEPT, 0)])
        writer.writerows([fate, -count] for count, fate in reasons)


def read_fates(path: Path) -> dict[str, int]:
    """The fates of a stage as `write_fates` left them."""
    try:
        with naming(path), path.open(encoding="utf-8-sig", newline="") as file:
            return {row["fate"]: int(row["rows"]) for row in csv.DictReader(file)}
    except FileNotFoundError:
        raise InputError(f"{path}: no such file; it is written by the stage before") from None
    except (KeyError, TypeError, ValueError):
        raise InputError(
            f"{path}: not a table of fates (columns fate,rows); delete it and run again"
        ) from None


def in_words(rows: Mapping[str, int]) -> str:
    """One line for the log: `1,234 of 2,000 kept; http_404 700, timeout 66`."""
    reasons = sorted((-count, fate) for fate, count in rows.items() if fate != KEPT and count)
    refused = ", ".join(f"{fate} {-count:,}" for count, fate in reasons) or "none refused"
    return f"{rows.get(KEPT, 0):,} of {sum(rows.values()):,} kept; {refused}"
