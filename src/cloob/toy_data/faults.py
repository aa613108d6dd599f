"""What is wrong with a list of links, as often as told here, and what must become of each such row."""

import random
from collections import Counter
from dataclasses import dataclass
from typing import Any

# A loopback port on which nothing listens: the connection is refused at once.
CLOSED_PORT = 1
# A reserved name (RFC 6761): no resolver knows it, nothing leaves the machine.
DEAD_HOST = "host-{:04d}.invalid"


@dataclass(frozen=True)
class Kind:
    """A kind of row: its share of the list, whether it is `kept` or `refused`, and where that shows.

    `where`: `list` (the row itself is bad), `fetch` (nothing comes over the network), `image`
    (something comes and is no usable picture), `end` (nothing is wrong with it).
    """

    name: str
    share: float
    outcome: str
    where: str


# The rest of the rows are `good`.
CC_KINDS = (
    Kind("good_redirected", 0.010, "kept", "end"),
    Kind("good_odd_link", 0.008, "kept", "end"),
    Kind("good_query", 0.020, "kept", "end"),
    Kind("good_foreign_caption", 0.020, "kept", "end"),
    Kind("missing_tab", 0.003, "refused", "list"),
    Kind("empty_caption", 0.003, "refused", "list"),
    Kind("empty_link", 0.003, "refused", "list"),
    Kind("not_a_link", 0.002, "refused", "list"),
    Kind("ftp_link", 0.002, "refused", "list"),
    Kind("duplicate_link", 0.008, "refused", "list"),
    Kind("dead_host", 0.025, "refused", "fetch"),
    Kind("refused_connection", 0.008, "refused", "fetch"),
    Kind("not_found", 0.025, "refused", "fetch"),
    Kind("timeout", 0.0015, "refused", "fetch"),
    Kind("redirect_loop", 0.003, "refused", "fetch"),
    Kind("empty", 0.004, "refused", "image"),
    Kind("html", 0.010, "refused", "image"),
    Kind("truncated", 0.008, "refused", "image"),
    Kind("tiny", 0.007, "refused", "image"),
    Kind("long", 0.012, "refused", "image"),
)
YFCC_KINDS = (
    Kind("video", 0.010, "refused", "list"),
    Kind("no_text", 0.025, "refused", "list"),
    Kind("unknown_photo", 0.010, "refused", "list"),
    Kind("not_found", 0.040, "refused", "fetch"),
    Kind("truncated", 0.005, "refused", "image"),
    Kind("tiny", 0.005, "refused", "image"),
)
GOOD = Kind("good", 0.0, "kept", "end")
# From this length on, a list holds every kind at least once.
_COMPLETE = 200


def deal(kinds: tuple[Kind, ...], rows: int, rng: random.Random) -> list[str]:
    """The kind of each row, in random order; the first row is good, so that a duplicate can repeat it."""
    least = 1 if rows >= _COMPLETE else 0
    bad = [kind.name for kind in kinds for _ in range(max(least, round(kind.share * rows)))]
    dealt = bad + [GOOD.name] * (rows - len(bad))
    rng.shuffle(dealt)
    if GOOD.name in dealt:
        first = dealt.index(GOOD.name)
        dealt[0], dealt[first] = dealt[first], dealt[0]
    return dealt


def ledger(kinds: tuple[Kind, ...], dealt: list[str]) -> dict[str, Any]:
    """What a list holds and what must come of it: rows, rows kept, and the same by kind."""
    counted = Counter(dealt)
    entries = [
        {"kind": kind.name, "rows": counted[kind.name], "outcome": kind.outcome, "where": kind.where}
        for kind in (GOOD, *kinds)
        if counted[kind.name]
    ]
    return {
        "rows": len(dealt),
        "kept": sum(entry["rows"] for entry in entries if entry["outcome"] == "kept"),
        "kinds": entries,
    }
