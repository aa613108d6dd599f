"""The search for near-duplicates finds exactly the pairs that comparing each with each finds."""

import numpy as np
import pytest

from cloob.images.near_duplicates import find_near_duplicates, hashes_to_array

Pair = tuple[int, int, int]


def hashes(number: int, seed: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 2**64, (number, 4), dtype=np.uint64)


def flipped(hash: np.ndarray, bits: int, rng: np.random.Generator) -> np.ndarray:
    found = np.unpackbits(hash.view(np.uint8))
    found[rng.choice(256, bits, replace=False)] ^= 1
    return np.packbits(found).view(np.uint64)


def searched(first: np.ndarray, second: np.ndarray, distance: int) -> list[Pair]:
    found = [np.stack(each, axis=1) for each in find_near_duplicates(first, second, distance)]
    return sorted(map(tuple, np.concatenate([np.empty((0, 3), int), *found]).tolist()))


def by_brute_force(first: np.ndarray, second: np.ndarray, distance: int) -> list[Pair]:
    bits = np.bitwise_count(first[:, None] ^ second[None]).sum(axis=2)
    return [(int(i), int(j), int(bits[i, j])) for i, j in zip(*np.nonzero(bits <= distance), strict=True)]


@pytest.mark.parametrize("distance", [0, 1, 20, 64])
def test_planted_neighbors_are_found_and_nothing_else(distance: int) -> None:
    rng = np.random.default_rng(1)
    first, second = hashes(700, 2), hashes(900, 3)
    for number, bits in enumerate([0, 1, 2, 19, 20, 21, 63, 64, 65, 128] * 10):
        second[7 * number + 3] = flipped(first[5 * number], bits, rng)
    expected = by_brute_force(first, second, distance)
    assert searched(first, second, distance) == expected
    assert len(expected) == 10 * sum(bits <= distance for bits in (0, 1, 2, 19, 20, 21, 63, 64, 65))


def test_neighbors_at_the_ends_of_every_block_are_found() -> None:
    first, second = hashes(33, 4), hashes(8200, 5)
    places = [(0, 0), (15, 8191), (16, 8192), (32, 8199)]
    for row, other in places:
        second[other] = first[row]
    assert searched(first, second, 20) == [(row, other, 0) for row, other in places]


def test_bits_that_differ_all_in_one_half_are_counted() -> None:
    first = hashes(1, 6)
    lower, upper = first.copy(), first.copy()
    lower[0, 0] ^= np.uint64(0b111)
    upper[0, 3] ^= np.uint64(0b1111)
    assert searched(first, np.concatenate([lower, upper]), 3) == [(0, 0, 3)]
    assert searched(first, np.concatenate([lower, upper]), 4) == [(0, 0, 3), (0, 1, 4)]


def test_where_all_are_alike_all_pairs_are_found() -> None:
    same = np.repeat(hashes(1, 7), 300, axis=0)
    assert len(searched(same, same, 0)) == 300 * 300


def test_none_are_near_to_none() -> None:
    nothing = hashes_to_array([])
    assert nothing.shape == (0, 4)
    assert searched(nothing, hashes(3, 8), 20) == searched(hashes(3, 8), nothing, 20) == []
