"""The events of a training log (metrics.jsonl): a JSON object per line."""

import json
from pathlib import Path
from typing import Any

from cloob.common.errors import io_errors_at

Event = dict[str, Any]
_NUMBERS = {"samples_seen", "processes", "samples_per_second"}


def parse_event(line: bytes) -> Event | None:
    """The event of a line, or None where the line is torn or damaged."""
    try:
        event = json.loads(line)
    except (ValueError, RecursionError):  # what is not UTF-8 is a ValueError, too
        return None
    if not isinstance(event, dict) or not isinstance(event.get("event"), str):
        return None
    if any(type(event[name]) not in (int, float) for name in _NUMBERS & event.keys()):
        return None
    return event


def first_and_last_events(path: Path, size: int) -> tuple[list[Event], int | None]:
    """The first event of a log and those in its last `size` bytes; the number of a damaged line among them.

    The last line may be torn, that is where a kill came.
    """
    with io_errors_at(path), path.open("rb") as log:
        first = log.readline()
        start = max(log.tell(), path.stat().st_size - size)
        log.seek(start)
        if start > len(first):
            log.readline()  # the end of a line
        lines = log.read().split(b"\n")
        events = [parse_event(line) for line in [first, *lines]]
        damaged = None
        if events[0] is None and first.endswith(b"\n"):
            damaged = 1
        elif None in events[1:-1]:
            log.seek(0)
            before = sum(block.count(b"\n") for block in iter(lambda: log.read(1 << 20), b""))
            damaged = before - (len(lines) - 1) + events.index(None, 1)
    return [event for event in events if event is not None], damaged
