"""Training logs (metrics.jsonl): one JSON object, an event, per line."""

import json
from pathlib import Path
from typing import Any

from cloob.common.errors import io_errors_at

Event = dict[str, Any]
STEP = b'{"event": "step",'
"""Beginning of the line of a step, of which a log may have hundreds of thousands."""
_POSITIVE_FIELDS = {"processes", "samples_per_second"}
_NUMERIC_FIELDS = {"samples_seen", *_POSITIVE_FIELDS}


def parse_event(line: bytes) -> Event | None:
    """The event of a line; None if the line is incomplete or damaged, or has an impossible number."""
    try:
        event = json.loads(line)
    except (ValueError, RecursionError):  # ValueError includes invalid UTF-8
        return None
    if not isinstance(event, dict) or not isinstance(event.get("event"), str):
        return None
    for name in _NUMERIC_FIELDS & event.keys():
        value = event[name]
        if type(value) not in (int, float) or not 0 <= value < 2**63:
            return None
        if value == 0 and name in _POSITIVE_FIELDS:
            return None
    return event


def first_and_last_events(path: Path, tail_bytes: int) -> tuple[list[Event], int | None]:
    """The first event of a log and those in its last `tail_bytes`; the number of a damaged line among them.

    An incomplete last line, which a kill leaves, does not count as damaged.
    """
    with io_errors_at(path), path.open("rb") as log:
        first = log.readline()
        start = max(log.tell(), path.stat().st_size - tail_bytes)
        log.seek(start)
        if start > len(first):
            log.readline()  # skip the rest of a line
        lines = log.read().split(b"\n")
        events = [parse_event(line) for line in [first, *lines]]
        damaged = None
        if events[0] is None and first.endswith(b"\n"):
            damaged = 1
        elif None in events[1:-1]:
            log.seek(0)
            num_lines = sum(block.count(b"\n") for block in iter(lambda: log.read(1 << 20), b""))
            damaged = num_lines - (len(lines) - 1) + events.index(None, 1)
    return [event for event in events if event is not None], damaged
