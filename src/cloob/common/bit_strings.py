"""Arrays of bits as text in JSON files: one bit per image of a test set takes 8 KB for ImageNet."""

import base64
import binascii

import numpy as np
from numpy.typing import ArrayLike, NDArray


def pack_bits(bits: ArrayLike) -> str:
    """Booleans (n,) as base64 of ⌈n / 8⌉ bytes; the first is the highest bit of the first byte."""
    return base64.b64encode(np.packbits(np.asarray(bits, dtype=bool)).tobytes()).decode("ascii")


def unpack_bits(text: str, count: int) -> NDArray[np.bool_]:
    """The inverse of `pack_bits`, (count,). Raises `ValueError` if the text is not of `count` bits."""
    try:
        content = base64.b64decode(text.encode("ascii"), validate=True)
    except (UnicodeEncodeError, binascii.Error):
        raise ValueError("not base64") from None
    bits = np.unpackbits(np.frombuffer(content, np.uint8)).astype(bool)
    if len(content) != -(-count // 8) or bits[count:].any():
        raise ValueError(f"{8 * len(content)} bits, not one for each of {count:,} images")
    return bits[:count]
