"""The text form of YFCC100M's metadata: 25 columns, sorted by line number like the subset.

A merge join therefore needs no table in memory. Only the lines that the subset lists are split into fields;
of all others, six in seven, only the line numbers are parsed, vectorized over a block.
"""

from collections import Counter
from collections.abc import Iterator
from operator import itemgetter
from pathlib import Path
from typing import NamedTuple

import numpy as np

from cloob.common.errors import InputError
from cloob.download.corpora.line_reader import read_blocks
from cloob.download.corpora.yfcc100m_subset import Photo, SubsetRows, read_subset

_TABS = 24
_PHOTO_FIELDS = itemgetter(1, 2, 8, 9, 24)
_MAX_DIGITS = 18


class _Block(NamedTuple):
    """A block of the metadata: the ascending line numbers of its records, and their byte ranges."""

    content: memoryview
    line_numbers: np.ndarray
    starts: np.ndarray
    ends: np.ndarray


def join_by_line_number(
    metadata: list[Path], subset: Path, counts: Counter[str]
) -> Iterator[tuple[SubsetRows, list[Photo | None]]]:
    """Merge join: subset rows with the photo of each, None if its metadata line is malformed.

    Rows without a line are counted as `not_in_metadata`. Raises `InputError` if line numbers do not ascend.
    """
    batches = read_subset(subset, counts)
    pending = next(batches, None)
    # The metadata is read to its end even when the subset is exhausted: a damaged or unsorted end is an
    # error.
    for block in _read_records(metadata):
        while pending is not None and pending.line_numbers[0] <= block.line_numbers[-1]:
            end = np.searchsorted(pending.line_numbers, block.line_numbers[-1], side="right")
            current, pending = pending[:end], pending[end:]
            positions = np.searchsorted(block.line_numbers, current.line_numbers)
            matched = block.line_numbers[positions] == current.line_numbers
            counts["not_in_metadata"] += int(len(matched) - matched.sum())
            positions = positions[matched]
            spans = zip(block.starts[positions].tolist(), block.ends[positions].tolist(), strict=True)
            yield current[matched], [_parse_photo(bytes(block.content[start:stop])) for start, stop in spans]
            if not len(pending):
                pending = next(batches, None)
    while pending is not None:
        counts["not_in_metadata"] += len(pending)
        pending = next(batches, None)


def _parse_photo(line: bytes) -> Photo | None:
    fields = line.rstrip(b"\r").split(b"\t")
    return Photo._make(_PHOTO_FIELDS(fields)) if len(fields) == _TABS + 1 else None


def _read_records(metadata: list[Path]) -> Iterator[_Block]:
    """The blocks of the metadata; lines that do not start with a number are ignored."""
    lines_before, last_line_number = 0, -1
    for content in read_blocks(*metadata, description=metadata[0].name, is_complete=_is_complete):
        characters = np.frombuffer(content, np.uint8)
        ends = np.flatnonzero(characters == ord("\n"))
        starts = np.concatenate(([0], ends[:-1] + 1))
        line_numbers = _leading_numbers(characters, starts)
        records = np.flatnonzero(line_numbers >= 0)
        line_numbers = line_numbers[records]
        unsorted = np.flatnonzero(line_numbers <= np.concatenate(([last_line_number], line_numbers[:-1])))
        if len(unsorted):
            names = ", ".join(str(path) for path in metadata)
            line = lines_before + int(records[unsorted[0]]) + 1
            columns = bytes(content[: ends[0]]).count(b"\t") + 1
            raise InputError(
                f"{names}: line {line}: line numbers must ascend; is the file sorted differently, or not the "
                f"metadata of {_TABS + 1} columns? It has {columns}"
            )
        lines_before += len(starts)
        if len(line_numbers):
            last_line_number = line_numbers[-1]
            yield _Block(content, line_numbers, starts[records], ends[records])


def _is_complete(line: bytes) -> bool:
    """Whether the last line of a part, which has no line ending, has all its columns."""
    return line.count(b"\t") == _TABS and not line.endswith(b"\t")


def _leading_numbers(characters: np.ndarray, starts: np.ndarray) -> np.ndarray:
    """The number before the first tab of each line; -1 if that is not a number of at most 18 digits."""
    values = np.zeros(len(starts), np.int64)
    numbers = np.full(len(starts), -1, np.int64)
    is_number = np.ones(len(starts), bool)
    for offset in range(_MAX_DIGITS + 1):
        current = characters.take(starts + offset, mode="clip")
        ended = is_number & (current == ord("\t"))
        if offset:
            numbers[ended] = values[ended]
        digits = current - np.uint8(ord("0"))
        is_number &= digits < 10
        if not is_number.any():
            break
        values = np.where(is_number, values * 10 + digits, values)
    return numbers
