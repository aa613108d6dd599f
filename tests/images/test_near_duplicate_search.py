"""The near-duplicate search returns exactly the pairs of a brute-force comparison."""

import numpy as np
import pytest

from cloob.images.near_duplicates import find_near_duplicates, hashes_to_array

Pair = tuple[int, int, int]


def random_hashes(number: int, seed: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 2**64, (number, 4), dtype=np.uint64)


def flip_bits(hash: np.ndarray, bits: int, rng: np.random.Generator) -> np.ndarray:
    flipped = np.unpackbits(hash.view(np.uint8))
    flipped[rng.choice(256, bits, replace=False)] ^= 1
    return np.packbits(flipped).view(np.uint64)


def search(first: np.ndarray, second: np.ndarray, distance: int) -> list[Pair]:
    matches = [np.stack(pairs, axis=1) for pairs in find_near_duplicates(first, second, distance)]
    return sorted(map(tuple, np.concatenate([np.empty((0, 3), int), *matches]).tolist()))


def brute_force(first: np.ndarray, second: np.ndarray, distance: int) -> list[Pair]:
    bits = np.bitwise_count(first[:, None] ^ second[None]).sum(axis=2)
    return [(int(i), int(j), int(bits[i, j])) for i, j in zip(*np.nonzero(bits <= distance), strict=True)]


@pytest.mark.parametrize("distance", [0, 1, 20, 64])
def test_exactly_the_planted_neighbors_are_found(distance: int) -> None:
    rng = np.random.default_rng(1)
    first, second = random_hashes(700, 2), random_hashes(900, 3)
    for number, bits in enumerate([0, 1, 2, 19, 20, 21, 63, 64, 65, 128] * 10):
        second[7 * number + 3] = flip_bits(first[5 * number], bits, rng)
    expected = brute_force(first, second, distance)
    assert search(first, second, distance) == expected
    assert len(expected) == 10 * sum(bits <= distance for bits in (0, 1, 2, 19, 20, 21, 63, 64, 65))


def test_neighbors_at_block_boundaries_are_found() -> None:
    first, second = random_hashes(33, 4), random_hashes(8200, 5)
    pairs = [(0, 0), (15, 8191), (16, 8192), (32, 8199)]
    for row, other in pairs:
        second[other] = first[row]
    assert search(first, second, 20) == [(row, other, 0) for row, other in pairs]


def test_bits_differing_in_one_half_only_are_counted() -> None:
    first = random_hashes(1, 6)
    lower, upper = first.copy(), first.copy()
    lower[0, 0] ^= np.uint64(0b111)
    upper[0, 3] ^= np.uint64(0b1111)
    assert search(first, np.concatenate([lower, upper]), 3) == [(0, 0, 3)]
    assert search(first, np.concatenate([lower, upper]), 4) == [(0, 0, 3), (0, 1, 4)]


def test_all_pairs_of_identical_hashes_are_found() -> None:
    same = np.repeat(random_hashes(1, 7), 300, axis=0)
    assert len(search(same, same, 0)) == 300 * 300


def test_empty_input_gives_no_pairs() -> None:
    empty = hashes_to_array([])
    assert empty.shape == (0, 4)
    assert search(empty, random_hashes(3, 8), 20) == search(random_hashes(3, 8), empty, 20) == []
