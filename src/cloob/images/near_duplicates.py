"""Near-duplicate images: a perceptual hash that re-encoding and resizing hardly change, and a search by it.

The hash is pHash with 16 × 16 frequencies: the image in gray at 32 × 32 pixels, its two-dimensional DCT, and
of each of the 256 lowest frequencies whether its coefficient is above their median. That is
`imagehash.phash(image, hash_size=16, highfreq_factor=2)` but for the resampling filter. The package takes
0.83 ms for an image of 500 × 375 pixels, as long as decoding, and needs SciPy and PyWavelets; this takes 0.3.
The usual 64 bits do not suffice: docs/data.md has the measurements.
"""

from collections.abc import Iterator

import numpy as np
from PIL import Image

HASH_BYTES = 32
# Near-duplicates differ in at most so many of the 256 bits, unless the config says otherwise. JPEG of quality
# 75, WebP and resizing change at most 12 bits of 99% of images; of 18 million pairs of different pictures of
# the synthetic toy dataset, which has few kinds of scenes, 15 are that near (docs/data.md).
DEFAULT_DISTANCE = 20
_SIDE = 32  # of the thumbnail, pixels
_FREQUENCIES = 16
# Fixed point: the hash does not depend on how a CPU's matrix product rounds.
_ONE = 1 << 12
# Of the coefficients' median magnitude, in gray levels. An image below it (a single color, a smooth gradient)
# has no hash: most bits would be the noise of JPEG, and all single colors duplicates of each other.
_NOISE = 1.0
# Pairs of hashes that are compared at once: what fits into a core's cache.
_FIRST, _SECOND = 16, 8192


def _basis() -> np.ndarray:
    """The rows of the orthonormal DCT-II of the lowest frequencies, in fixed point."""
    frequency, place = np.arange(_FREQUENCIES)[:, None], np.arange(_SIDE)
    rows = np.sqrt(2 / _SIDE) * np.cos(np.pi * frequency * (2 * place + 1) / (2 * _SIDE))
    rows[0] /= np.sqrt(2)
    return np.rint(_ONE * rows).astype(np.int64)


_DCT = _basis()


def perceptual_hash(image: Image.Image) -> bytes | None:
    """The 256-bit perceptual hash of an upright image (mode RGB or L); None of one without structure.

    The same on every machine. The brightness and the contrast of the image do not matter, nor its colors or
    its aspect ratio; a mirrored image has another hash.
    """
    small = image.convert("L").resize((_SIDE, _SIDE), Image.Resampling.BILINEAR)
    coefficients = (_DCT @ np.asarray(small, dtype=np.int64) @ _DCT.T).ravel()
    without_mean = coefficients[1:]
    if np.median(np.abs(without_mean)) < _NOISE * _ONE**2:
        return None
    above = coefficients > np.median(without_mean)
    above[0] = False  # the mean
    return np.packbits(above).tobytes()


def hashes_to_array(hashes: list[bytes]) -> np.ndarray:
    """Hashes as uint64 (n, 4), the form that `near_duplicates` takes."""
    return np.frombuffer(b"".join(hashes), dtype=np.uint64).reshape(len(hashes), HASH_BYTES // 8)


def find_near_duplicates(
    first: np.ndarray, second: np.ndarray, distance: int
) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """All pairs of hashes, uint64 (n, 4) and (m, 4), that differ in at most `distance` bits.

    Yields (row in `first`, row in `second`, differing bits), some pairs at a time. Every pair is compared, at
    1 ns a pair: 14.8 million with 13,000 take 3.3 minutes of a core.
    """
    columns = np.ascontiguousarray(second.T)
    for start in range(0, len(first), _FIRST):
        some = first[start : start + _FIRST]
        for place in range(0, len(second), _SECOND):
            others = columns[:, place : place + _SECOND]
            # Half of the bits first: hardly a pair of different images is within the distance there.
            bits = np.bitwise_count(some[:, :1] ^ others[0])
            bits += np.bitwise_count(some[:, 1:2] ^ others[1])
            if bits.min() > distance:
                continue
            row, column = np.nonzero(bits <= distance)
            bits = np.bitwise_count(some[row] ^ others[:, column].T).sum(axis=1, dtype=np.int64)
            near = bits <= distance
            if near.any():
                yield start + row[near], place + column[near], bits[near]
