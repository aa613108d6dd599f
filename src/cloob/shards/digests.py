"""SHA-256 digests of images as 64-bit numbers, which take an eighth of the memory of the hexadecimal text.

Equal numbers mean equal images: the odds of a collision among 15 million different ones are 1 : 160,000.
"""

from binascii import unhexlify
from hashlib import sha256

import numpy as np
import pyarrow as pa

_HEX_CHARACTERS, _USED_CHARACTERS = 64, 16
_NOT_UPPERCASE = 0x20  # bit of ASCII codes


def image_digest(image: bytes) -> int:
    """The first 64 bits of the SHA-256 of an image."""
    return int.from_bytes(sha256(image).digest()[:8])


def image_digests(column: pa.StringArray) -> np.ndarray:
    """The first 64 bits of SHA-256 digests in lowercase hexadecimal, as uint64 (n,).

    Raises `ValueError` if a value is missing or not such a digest.
    """
    _, offsets_buffer, text_buffer = column.buffers()
    if not len(column):
        return np.empty(0, dtype=np.uint64)
    offsets = np.frombuffer(offsets_buffer, dtype=np.int32)[column.offset :][: len(column) + 1]
    if column.null_count or (np.diff(offsets) != _HEX_CHARACTERS).any():
        raise ValueError("an image has no SHA-256")
    text = np.frombuffer(text_buffer, dtype=np.uint8)[offsets[0] : offsets[-1]]
    used = text.reshape(-1, _HEX_CHARACTERS)[:, :_USED_CHARACTERS].tobytes()
    octets = unhexlify(used)  # raises ValueError
    # Of all hexadecimal digits, only uppercase letters do not have this bit.
    if not np.bitwise_and.reduce(np.frombuffer(used, dtype=np.uint8)) & _NOT_UPPERCASE:
        raise ValueError("an image's SHA-256 is not in lowercase")
    return np.frombuffer(octets, dtype=">u8").astype(np.uint64)
