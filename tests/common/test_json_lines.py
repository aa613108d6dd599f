"""Training logs with damaged lines: the number of the damaged line is reported, other lines are read."""

import json
from pathlib import Path

import pytest

from cloob.common.json_lines import first_and_last_events, parse_event


def log_lines(number: int) -> list[bytes]:
    steps = [
        {"event": "step", "samples_seen": 8 * step, "samples_per_second": 9.0} for step in range(1, number)
    ]
    return [json.dumps(event).encode() for event in [{"event": "start", "samples_seen": 0}, *steps]]


@pytest.mark.parametrize(
    "line",
    [b"{", b"\x00" * 40, b'{"event": "st\xff"}', b"7", b"[]", b'{"event": "s", "samples_seen": "8"}'],
)
def test_invalid_line_is_not_an_event(line: bytes) -> None:
    assert parse_event(line) is None


@pytest.mark.parametrize("size", [300, 1 << 20])
@pytest.mark.parametrize("bad", [1, 60, 99])
def test_number_of_a_damaged_line_is_reported(tmp_path: Path, size: int, bad: int) -> None:
    lines = log_lines(100)
    lines[bad - 1] = lines[bad - 1][:-10]
    log = tmp_path / "metrics.jsonl"
    log.write_bytes(b"\n".join(lines) + b"\n")
    events, damaged = first_and_last_events(log, size)
    is_read = bad == 1 or size > 300 or bad == 99
    assert damaged == (bad if is_read else None)
    assert events[-1]["samples_seen"] == 99 * 8


def test_incomplete_last_line_is_not_damage(tmp_path: Path) -> None:
    log = tmp_path / "metrics.jsonl"
    log.write_bytes(b"\n".join(log_lines(100)) + b'\n{"event": "st')
    for size in (300, 1 << 20):
        events, damaged = first_and_last_events(log, size)
        assert damaged is None
        assert events[0]["event"] == "start"
    log.write_bytes(b'{"event": "st')
    assert first_and_last_events(log, 300) == ([], None)
