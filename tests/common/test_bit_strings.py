"""Bits as text: the round trip, and what is not such a text."""

import numpy as np
import pytest

from cloob.common.bit_strings import pack_bits, unpack_bits


@pytest.mark.parametrize("count", [0, 1, 7, 8, 9, 1000])
def test_bits_survive_the_round_trip(count: int) -> None:
    bits = np.random.default_rng(count).random(count) < 0.3
    assert unpack_bits(pack_bits(bits), count).tolist() == bits.tolist()


def test_fifty_thousand_bits_take_eight_kilobytes() -> None:
    assert len(pack_bits(np.ones(50_000))) == 8336


@pytest.mark.parametrize(
    ("text", "count", "message"),
    [
        ("not base64!", 8, "not base64"),
        ("é", 8, "not base64"),
        (pack_bits([True] * 8), 9, "8 bits, not one for each of 9 images"),
        (pack_bits([True] * 9), 8, "16 bits, not one for each of 8 images"),
        (pack_bits([True] * 8), 5, "8 bits, not one for each of 5 images"),
    ],
)
def test_other_text_is_an_error(text: str, count: int, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        unpack_bits(text, count)
