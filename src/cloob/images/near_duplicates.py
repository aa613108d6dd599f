"""Near-duplicate images: a perceptual hash that is robust to re-encoding and resizing, and a search with it.

The hash is pHash with 16 × 16 frequencies: the image in gray at 32 × 32 pixels, its two-dimensional DCT, and,
for each of the 256 lowest frequencies, whether its coefficient is above their median. Except for the
resampling filter it equals `imagehash.phash(image, hash_size=16, highfreq_factor=2)`; that package takes
0.83 ms for an image of 500 × 375 pixels, as long as decoding, and needs SciPy and PyWavelets; this module
takes 0.3 ms. The usual 64 bits are not sufficient; docs/data.md has the measurements.
"""

from collections.abc import Iterator

import numpy as np
from PIL import Image

HASH_BYTES = 32
# Stored with all hashes; change it when the definition of the hash changes.
HASH_VERSION = "pHash of 256 bits, 1"
# Default for the maximum number of differing bits, of 256, of near-duplicates. JPEG of quality 75, WebP and
# resizing change at most 12 bits for 99% of images; among 18 million pairs of different images of the toy
# dataset, which has few kinds of scenes, 15 are within this distance (docs/data.md).
DEFAULT_DISTANCE = 20
_THUMBNAIL_SIZE = 32  # pixels
_FREQUENCIES = 16
# Fixed-point arithmetic: the hash does not depend on the rounding of a CPU's matrix product.
_FIXED_POINT_ONE = 1 << 12
# Minimum median magnitude of the coefficients, in gray levels. An image below it (a single color, a smooth
# gradient) has no hash: most bits would be JPEG noise, and all single colors duplicates of each other.
_MIN_MAGNITUDE = 1.0
# Block size of the comparison: pairs that fit into a core's cache.
_FIRST_BLOCK, _SECOND_BLOCK = 16, 8192


def _dct_basis() -> np.ndarray:
    """The rows of the orthonormal DCT-II for the lowest frequencies, in fixed point."""
    frequency, pixel = np.arange(_FREQUENCIES)[:, None], np.arange(_THUMBNAIL_SIZE)
    rows = np.sqrt(2 / _THUMBNAIL_SIZE) * np.cos(np.pi * frequency * (2 * pixel + 1) / (2 * _THUMBNAIL_SIZE))
    rows[0] /= np.sqrt(2)
    return np.rint(_FIXED_POINT_ONE * rows).astype(np.int64)


_DCT = _dct_basis()


def perceptual_hash(image: Image.Image) -> bytes | None:
    """The 256-bit perceptual hash of an upright image (mode RGB or L); None for an image without structure.

    It is identical on every machine, and invariant to brightness, contrast, color and aspect ratio, but not
    to mirroring.
    """
    small = image.convert("L").resize((_THUMBNAIL_SIZE, _THUMBNAIL_SIZE), Image.Resampling.BILINEAR)
    coefficients = (_DCT @ np.asarray(small, dtype=np.int64) @ _DCT.T).ravel()
    without_mean = coefficients[1:]
    if np.median(np.abs(without_mean)) < _MIN_MAGNITUDE * _FIXED_POINT_ONE**2:
        return None
    above = coefficients > np.median(without_mean)
    above[0] = False  # the DC coefficient
    return np.packbits(above).tobytes()


def hashes_to_array(hashes: list[bytes]) -> np.ndarray:
    """Hashes as uint64 (n, 4), the input of `find_near_duplicates`."""
    return np.frombuffer(b"".join(hashes), dtype=np.uint64).reshape(len(hashes), HASH_BYTES // 8)


def find_near_duplicates(
    first: np.ndarray, second: np.ndarray, max_distance: int
) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """Find all pairs of hashes, uint64 (n, 4) and (m, 4), that differ in at most `max_distance` bits.

    Yields arrays (row in `first`, row in `second`, differing bits) for some pairs at a time. The search is
    exhaustive, at 1 ns per pair: 14.8 million × 13,000 hashes take 3.3 minutes on one core.
    """
    columns = np.ascontiguousarray(second.T)
    for start in range(0, len(first), _FIRST_BLOCK):
        block = first[start : start + _FIRST_BLOCK]
        for offset in range(0, len(second), _SECOND_BLOCK):
            others = columns[:, offset : offset + _SECOND_BLOCK]
            # Half of the bits first: they exclude almost all pairs of different images.
            bits = np.bitwise_count(block[:, :1] ^ others[0])
            bits += np.bitwise_count(block[:, 1:2] ^ others[1])
            if bits.min() > max_distance:
                continue
            row, column = np.nonzero(bits <= max_distance)
            bits = np.bitwise_count(block[row] ^ others[:, column].T).sum(axis=1, dtype=np.int64)
            near = bits <= max_distance
            if near.any():
                yield start + row[near], offset + column[near], bits[near]
