"""The kinds of rows of a generated URL list, their frequencies, and the outcome that each must have."""

import random
from collections import Counter
from dataclasses import dataclass
from typing import Any

# A loopback port without a listener: connections are refused immediately.
CLOSED_PORT = 1
# A reserved top-level domain (RFC 6761): never resolved, no request leaves the machine.
UNKNOWN_HOST = "host-{:04d}.invalid"


@dataclass(frozen=True)
class RowKind:
    """A kind of row: its fraction of the list, and the stage that rejects such rows (None if they are kept).

    Stages: `url_list` (the row is malformed), `fetch` (no response with a body), `image` (the body is not a
    usable image).
    """

    name: str
    fraction: float
    rejected_at: str | None = None


# All other rows are `good`.
CONCEPTUAL_CAPTIONS_KINDS = (
    RowKind("good_redirected", 0.010),
    RowKind("good_odd_url", 0.008),
    RowKind("good_query", 0.020),
    RowKind("good_foreign_caption", 0.020),
    RowKind("missing_tab", 0.003, "url_list"),
    RowKind("empty_caption", 0.003, "url_list"),
    RowKind("empty_url", 0.003, "url_list"),
    RowKind("not_a_url", 0.002, "url_list"),
    RowKind("ftp_url", 0.002, "url_list"),
    RowKind("duplicate_url", 0.008, "url_list"),
    RowKind("unknown_host", 0.025, "fetch"),
    RowKind("connection_refused", 0.008, "fetch"),
    RowKind("not_found", 0.025, "fetch"),
    RowKind("timeout", 0.0015, "fetch"),
    RowKind("redirect_loop", 0.003, "fetch"),
    RowKind("empty", 0.004, "image"),
    RowKind("html", 0.010, "image"),
    RowKind("truncated", 0.008, "image"),
    RowKind("tiny", 0.007, "image"),
    RowKind("long", 0.012, "image"),
)
YFCC100M_KINDS = (
    RowKind("video", 0.010, "url_list"),
    RowKind("no_text", 0.025, "url_list"),
    RowKind("unknown_photo", 0.010, "url_list"),
    RowKind("not_found", 0.040, "fetch"),
    RowKind("truncated", 0.005, "image"),
    RowKind("tiny", 0.005, "image"),
)
GOOD = RowKind("good", 0.0)
# A list of at least this many rows contains every kind.
_MIN_ROWS_FOR_ALL_KINDS = 200


def assign_kinds(kinds: tuple[RowKind, ...], rows: int, rng: random.Random) -> list[str]:
    """The kind of each row, in random order; the first row is good, so that duplicates can repeat its URL."""
    min_count = 1 if rows >= _MIN_ROWS_FOR_ALL_KINDS else 0
    other = [kind.name for kind in kinds for _ in range(max(min_count, round(kind.fraction * rows)))]
    assigned = other + [GOOD.name] * (rows - len(other))
    rng.shuffle(assigned)
    if GOOD.name in assigned:
        first = assigned.index(GOOD.name)
        assigned[0], assigned[first] = assigned[first], assigned[0]
    return assigned


def expected_accounting(kinds: tuple[RowKind, ...], assigned: list[str]) -> dict[str, Any]:
    """The expected row accounting of a list: all rows, rows kept, and rows per kind."""
    counts = Counter(assigned)
    entries = [
        {"kind": kind.name, "rows": counts[kind.name], "rejected_at": kind.rejected_at}
        for kind in (GOOD, *kinds)
        if counts[kind.name]
    ]
    return {
        "rows": len(assigned),
        "kept": sum(counts[kind.name] for kind in (GOOD, *kinds) if kind.rejected_at is None),
        "kinds": entries,
    }
