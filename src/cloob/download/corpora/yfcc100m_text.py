"""The text form of YFCC100M's metadata: 25 columns, in the order of its line numbers, as the subset is.

So a merge needs no table in memory. Only the lines that the subset lists are taken apart; of the others, six
in seven, nothing is read but their numbers, a whole block's at once.
"""

from collections import Counter
from collections.abc import Iterator
from operator import itemgetter
from pathlib import Path
from typing import NamedTuple

import numpy as np

from cloob.common.errors import InputError
from cloob.download.corpora.text_lines import blocks
from cloob.download.corpora.yfcc100m_subset import Entries, Photo, read_subset

_TABS = 24
_FACTS = itemgetter(1, 2, 8, 9, 24)
_MOST_DIGITS = 18


class _Numbered(NamedTuple):
    """A block of the metadata: its records' numbers, which ascend, and where each begins and ends."""

    content: memoryview
    numbers: np.ndarray
    begins: np.ndarray
    ends: np.ndarray


def by_line(
    metadata: list[Path], subset: Path, found: Counter[str]
) -> Iterator[tuple[Entries, list[Photo | None]]]:
    """Merge by line number: entries with the photo of each, None where its line is malformed.

    Those without a line are counted as `not_in_metadata`. Raises `InputError` where numbers do not ascend.
    """
    more = read_subset(subset, found)
    entries = next(more, None)
    for block in _numbered(metadata):
        # A damaged or unsorted end must not pass unseen, so the rest is read, too.
        while entries is not None and entries.lines[0] <= block.numbers[-1]:
            reached = np.searchsorted(entries.lines, block.numbers[-1], side="right")
            now, entries = entries[:reached], entries[reached:]
            places = np.searchsorted(block.numbers, now.lines)
            there = block.numbers[places] == now.lines
            found["not_in_metadata"] += int(len(there) - there.sum())
            places = places[there]
            spans = zip(block.begins[places].tolist(), block.ends[places].tolist(), strict=True)
            yield now[there], [_photo(bytes(block.content[begin:end])) for begin, end in spans]
            if not len(entries):
                entries = next(more, None)
    while entries is not None:
        found["not_in_metadata"] += len(entries)
        entries = next(more, None)


def _photo(line: bytes) -> Photo | None:
    fields = line.rstrip(b"\r").split(b"\t")
    return Photo._make(_FACTS(fields)) if len(fields) == _TABS + 1 else None


def _numbered(metadata: list[Path]) -> Iterator[_Numbered]:
    """The blocks; a line that begins with no number is no record."""
    lines_before, before = 0, -1
    for content in blocks(*metadata, what=metadata[0].name, whole=_whole):
        characters = np.frombuffer(content, np.uint8)
        ends = np.flatnonzero(characters == ord("\n"))
        begins = np.concatenate(([0], ends[:-1] + 1))
        numbers = _leading_numbers(characters, begins)
        records = np.flatnonzero(numbers >= 0)
        numbers = numbers[records]
        late = np.flatnonzero(numbers <= np.concatenate(([before], numbers[:-1])))
        if len(late):
            names = ", ".join(str(path) for path in metadata)
            place = lines_before + int(records[late[0]]) + 1
            columns = bytes(content[: ends[0]]).count(b"\t") + 1
            raise InputError(
                f"{names}: line {place}: line numbers must ascend; is the file sorted otherwise, or no "
                f"metadata of {_TABS + 1} columns? It has {columns}"
            )
        lines_before += len(begins)
        if len(numbers):
            before = numbers[-1]
            yield _Numbered(content, numbers, begins[records], ends[records])


def _whole(line: bytes) -> bool:
    """Whether the last line of a part, which nothing ends, has all its columns."""
    return line.count(b"\t") == _TABS and not line.endswith(b"\t")


def _leading_numbers(characters: np.ndarray, begins: np.ndarray) -> np.ndarray:
    """The number before the first tab of each line; -1 where there is none of at most 18 digits."""
    numbers = np.zeros(len(begins), np.int64)
    known = np.full(len(begins), -1, np.int64)
    going = np.ones(len(begins), bool)
    for place in range(_MOST_DIGITS + 1):
        here = characters.take(begins + place, mode="clip")
        ended = going & (here == ord("\t"))
        if place:
            known[ended] = numbers[ended]
        digits = here - np.uint8(ord("0"))
        going &= digits < 10
        if not going.any():
            break
        numbers = np.where(going, numbers * 10 + digits, numbers)
    return known
