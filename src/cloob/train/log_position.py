"""Where the events of a checkpoint end in its log, found by bisection: a log of 250 MB is not parsed."""

from typing import BinaryIO

from cloob.common.json_lines import parse_event

_BETWEEN_EVENTS = b'}\n{"event": "'
_BLOCK_BYTES = 2**22


def position_after(log: BinaryIO, samples_seen: int) -> tuple[int, int] | None:
    """The byte position after the last event with at most `samples_seen`, and the `samples_seen` it has.

    (0, 0) if there is no such event; None if a line seems to be damaged. Events are in the order of their
    `samples_seen`. The last line may be incomplete, if the process was killed; it is then after this
    position.
    """
    end = _line_start(log, 0, log.seek(0, 2))
    if not _seems_intact(log, end):
        return None
    low, high = 0, end  # starts of lines: those before low are kept, those from high on are not
    last = 0  # of the line before low
    while low < high:
        start = _line_start(log, low, (low + high) // 2)
        log.seek(start)
        line = log.readline()
        if (event := parse_event(line)) is None:
            return None
        if (seen := event.get("samples_seen", 0)) > samples_seen:
            high = start
        else:
            low, last = start + len(line), seen
    return low, last


def _line_start(log: BinaryIO, low: int, position: int) -> int:
    """The start of the line that `position` is in; `low` is the start of this line or an earlier one."""
    num_bytes = 2**12
    while True:
        begin = max(low, position - num_bytes)
        log.seek(begin)
        newline = log.read(position - begin).rfind(b"\n")
        if newline >= 0 or begin == low:
            return begin + newline + 1
        num_bytes *= 16


def _seems_intact(log: BinaryIO, end: int) -> bool:
    """Whether every line up to `end` begins and ends like an event, in ASCII, as `json.dumps` writes it.

    Counting is a hundred times faster than parsing, and finds what a crash of the system leaves: zeros, and
    lines that are cut off.
    """
    log.seek(0)
    tail, newlines, borders = b"}\n", 0, 0  # as if an event preceded the first one
    while log.tell() < end:
        block = log.read(min(_BLOCK_BYTES, end - log.tell()))
        if not block.isascii() or b"\0" in block:
            return False
        newlines += block.count(b"\n")
        borders += (tail + block).count(_BETWEEN_EVENTS)
        tail = (tail + block)[1 - len(_BETWEEN_EVENTS) :]
    return newlines == borders and tail.endswith(b"}\n")
