"""The events of a training log (metrics.jsonl), a JSON object per line, read line by line."""

import json
from collections.abc import Iterable, Iterator
from typing import Any

Event = dict[str, Any]


def parse_events(lines: Iterable[bytes]) -> Iterator[tuple[int, bytes, Event | None]]:
    """The number of each line (from 1), its bytes, and its event: None where the line is damaged."""
    for number, line in enumerate(lines, start=1):
        yield number, line, parse_event(line)


def parse_event(line: bytes) -> Event | None:
    """The event of a line, or None where the line is torn or was changed."""
    try:
        event = json.loads(line)
    except (ValueError, RecursionError):  # not UTF-8 is a ValueError, too
        return None
    if not isinstance(event, dict) or not isinstance(event.get("event"), str):
        return None
    if any(isinstance(value, bool) or not isinstance(value, int | float) for value in _numbers(event)):
        return None
    return event


def _numbers(event: Event) -> Iterator[Any]:
    for name in ("samples_seen", "samples_per_second", "processes"):
        if name in event:
            yield event[name]
