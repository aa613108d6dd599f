"""The search by segments finds exactly the pairs of the exhaustive search."""

import numpy as np
import pytest

from cloob.images.near_duplicates import find_near_duplicates
from cloob.images.segment_search import (
    MAX_DISTANCE,
    SEGMENT_BITS,
    SEGMENTS,
    Pairs,
    search_segments,
    segment_values,
)


def random_hashes(number: int, seed: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 2**64, (number, 4), dtype=np.uint64)


def flip_bits(hash: np.ndarray, bits: int, rng: np.random.Generator) -> np.ndarray:
    flipped = np.unpackbits(hash.view(np.uint8))
    flipped[rng.choice(256, bits, replace=False)] ^= 1
    return np.packbits(flipped).view(np.uint64)


def pairs_of(parts: list[Pairs]) -> list[tuple[int, int, int]]:
    """All pairs, sorted; a pair that is found twice is in the list twice."""
    return sorted(pair for part in parts for pair in zip(*(column.tolist() for column in part), strict=True))


@pytest.mark.parametrize("distance", [0, 10, 11, 20, 22, MAX_DISTANCE])
def test_the_pairs_are_those_of_the_exhaustive_search(distance: int) -> None:
    """Radius 0, 1 and 2, at the limits of each."""
    rng = np.random.default_rng(1)
    first, second = random_hashes(3000, 2), random_hashes(500, 3)
    for number in range(400):
        second[number] = flip_bits(first[7 * number], number % 40, rng)
    found = pairs_of(list(search_segments(first, second, distance)))
    assert found == pairs_of(list(find_near_duplicates(first, second, distance)))
    assert len(found) == 10 * (distance + 1)


def test_differences_that_crowd_into_few_segments_are_found() -> None:
    first = random_hashes(1, 4)
    crowded = np.unpackbits(first.view(np.uint8), axis=1, bitorder="little")
    crowded[0, 100:120] ^= 1
    second = np.packbits(crowded, axis=1, bitorder="little").view(np.uint64)
    assert pairs_of(list(search_segments(first, second, 20))) == [(0, 0, 20)]
    assert pairs_of(list(search_segments(first, second, 19))) == []


def test_blocks_and_tables_of_any_size_give_the_same_pairs(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where one hash has more candidates than a block has pairs."""
    same = np.repeat(random_hashes(1, 5), 60, axis=0)
    first, second = np.concatenate([same, random_hashes(40, 6)]), np.concatenate([random_hashes(7, 7), same])
    expected = pairs_of(list(search_segments(first, second, 11)))
    assert len(expected) == 60 * 60
    for name, size in {"_ROWS_PER_BLOCK": 9, "_PAIRS_PER_BLOCK": 50, "_HASHES_PER_TABLE": 13}.items():
        monkeypatch.setattr(f"cloob.images.segment_search.{name}", size)
    assert pairs_of(list(search_segments(first, second, 11))) == expected


def test_segments_are_disjoint_ranges_of_bits() -> None:
    hashes = random_hashes(5, 8)
    bits = np.unpackbits(hashes.view(np.uint8), axis=1, bitorder="little").astype(int)
    for segment in range(SEGMENTS):
        for width in (SEGMENT_BITS, 9):
            part = bits[:, segment * SEGMENT_BITS :][:, :width]
            assert segment_values(hashes, segment, width).tolist() == (part @ 2 ** np.arange(width)).tolist()


def test_many_second_hashes_use_all_bits_of_a_segment() -> None:
    rng = np.random.default_rng(10)
    first, second = random_hashes(40, 11), random_hashes(70_000, 12)
    for number in range(40):
        second[1000 * number] = flip_bits(first[number], number, rng)
    found = pairs_of(list(search_segments(first, second, 10)))
    assert found == [(number, 1000 * number, number) for number in range(11)]


def test_empty_input_gives_no_pairs() -> None:
    empty = np.empty((0, 4), np.uint64)
    assert pairs_of(list(search_segments(empty, random_hashes(3, 9), 20))) == []
    assert pairs_of(list(search_segments(random_hashes(3, 9), empty, 20))) == []
