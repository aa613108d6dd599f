"""Exact search for near-duplicates among millions of hashes, without comparing all pairs.

Two hashes that differ in at most d bits differ in at most ⌊d / s⌋ bits in one of any s disjoint segments.
For each segment, a table contains the second hashes under all values within this radius, and the first ones
are looked up in it; only pairs with the same value are compared. This finds the same pairs as the exhaustive
`find_near_duplicates`, two orders of magnitude faster.
"""

from collections.abc import Iterator
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

# A segment starts every 23 bits. It has fewer bits, and its table fewer values, for few second hashes.
SEGMENTS, SEGMENT_BITS = 11, 23
# With radius 2, each hash is in a table 277 times, and with radius 3, 2,048 times.
_MAX_RADIUS = 2
MAX_DISTANCE = SEGMENTS * (_MAX_RADIUS + 1) - 1
_ROWS_PER_BLOCK = 1 << 18  # first hashes that are looked up at a time
_PAIRS_PER_BLOCK = 1 << 20  # pairs that are compared at a time
_HASHES_PER_TABLE = 1 << 17  # with radius 2: 36 million entries of 8 bytes

Words = NDArray[np.uint64]
Pairs = tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]


def search_segments(first: Words, second: Words, max_distance: int) -> Iterator[Pairs]:
    """Yield each pair of `find_near_duplicates` exactly once, in another order; uint64 (n, 4) and (m, 4).

    `max_distance` is at most `MAX_DISTANCE`. The tables of 131,072 second hashes take about 0.2 GB up to a
    distance of 21 bits and 1 GB above, whatever the number of first hashes.
    """
    radius = max_distance // SEGMENTS
    width = min(SEGMENT_BITS, len(second).bit_length() + 6)
    for start in range(0, len(second), _HASHES_PER_TABLE):
        part = second[start : start + _HASHES_PER_TABLE]
        for segment in range(SEGMENTS):
            for row, other, bits in _search_segment(first, part, segment, width, radius, max_distance):
                yield row, start + other, bits


def _search_segment(
    first: Words, second: Words, segment: int, width: int, radius: int, max_distance: int
) -> Iterator[Pairs]:
    """The pairs within `max_distance` that `segment` finds and no earlier segment does."""
    rows, starts = _table(segment_values(second, segment, width), width, radius)
    occupied = starts[1:] > starts[:-1]  # one byte per value: 8 MB fit into a cache
    for offset in range(0, len(first), _ROWS_PER_BLOCK):
        values = segment_values(first[offset : offset + _ROWS_PER_BLOCK], segment, width)
        hits = np.flatnonzero(occupied[values])
        values = values[hits]
        counts = starts[values + 1] - starts[values]
        for part in _parts(counts):
            row = np.repeat(hits[part] + offset, counts[part])
            within = np.arange(len(row)) - np.repeat(np.cumsum(counts[part]) - counts[part], counts[part])
            other = rows[np.repeat(starts[values[part]], counts[part]) + within].astype(np.int64)
            row, other, bits = _within(first, second, row, other, max_distance)
            for earlier in range(segment):
                differing = segment_values(first[row], earlier, width) ^ segment_values(
                    second[other], earlier, width
                )
                new = np.bitwise_count(differing) > radius
                row, other, bits = row[new], other[new], bits[new]
            if len(row):
                yield row, other, bits


def _parts(counts: NDArray[np.int64]) -> Iterator[slice]:
    """Slices of rows with about `_PAIRS_PER_BLOCK` pairs each."""
    ends = np.cumsum(counts)
    start = 0
    while start < len(counts):
        target = (ends[start - 1] if start else 0) + _PAIRS_PER_BLOCK
        stop = max(start + 1, int(np.searchsorted(ends, target, "right")))
        yield slice(start, stop)
        start = stop


def _within(
    first: Words, second: Words, row: NDArray[np.int64], other: NDArray[np.int64], max_distance: int
) -> Pairs:
    """The pairs (row, other) that differ in at most `max_distance` bits."""
    bits = np.zeros(len(row), np.int64)
    for word in range(first.shape[1]):  # each word excludes most of the remaining pairs
        bits += np.bitwise_count(first[row, word] ^ second[other, word])
        near = np.flatnonzero(bits <= max_distance)
        row, other, bits = row[near], other[near], bits[near]
    return row, other, bits


def _table(
    values: NDArray[np.int64], width: int, radius: int
) -> tuple[NDArray[np.uint32], NDArray[np.int64]]:
    """Hashes by all values within `radius` bits of their segment (m,), which has `width` bits.

    Returns row indices, sorted by value, and the start of the rows of each value (2^`width` + 1).
    """
    masks = [
        sum(1 << bit for bit in flipped)
        for number in range(radius + 1)
        for flipped in combinations(range(width), number)
    ]
    # The value in the upper bits, the row in the lower: sorting integers is faster than sorting an index.
    entries = np.empty((len(masks), len(values)), np.uint64)
    rows = np.arange(len(values), dtype=np.uint64)
    for entry, mask in zip(entries, masks, strict=True):
        entry[:] = ((values ^ mask).astype(np.uint64) << np.uint64(32)) | rows
    ordered = np.sort(entries, axis=None)
    starts = np.zeros((1 << width) + 1, np.int64)
    counts = np.bincount((ordered >> np.uint64(32)).astype(np.int64), minlength=1 << width)
    np.cumsum(counts, out=starts[1:])
    return ordered.astype(np.uint32), starts


def segment_values(words: Words, segment: int, width: int) -> NDArray[np.int64]:
    """The first `width` bits of a segment of hashes, uint64 (n, 4), as integers (n,)."""
    word, shift = divmod(segment * SEGMENT_BITS, 64)
    values = words[:, word] >> np.uint64(shift)
    if shift + width > 64:
        values = values | (words[:, word + 1] << np.uint64(64 - shift))
    return (values & np.uint64((1 << width) - 1)).astype(np.int64)
