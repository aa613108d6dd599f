"""Single-line plain text from captions: YFCC100M's texts are what users typed, as Flickr stored it."""

import html
import re
from collections.abc import Sequence

import numpy as np

CONTROL_CHARACTERS = re.compile(r"[\x00-\x1f\x7f-\x9f]+")
# A tag starts with a letter or a slash: "<3" and "a < b" are text. No tag spans two texts.
_TAG = re.compile(r"</?[A-Za-z][^<>\n]*>")
# A numeric entity that Python refuses to parse (more than 4300 digits); none of them is a character.
_OVERLONG_ENTITY = re.compile(r"&#[0-9]{4301,};?")
# Bytes that mean a blank in a stored text (a line feed separates texts), and the byte that each `%xx`
# becomes.
_BLANKS = bytes(range(32)) + b"\x7f+"
_RAW_TO_BLANK = bytes.maketrans(_BLANKS.replace(b"\n", b""), b" " * (len(_BLANKS) - 1))
_DECODED = np.array([32 if byte < 32 or byte == 127 else byte for byte in range(256)], np.uint8)
_HEX_VALUE = np.full(256, 255, np.uint8)
for _value, _digits in enumerate(zip("0123456789abcdef", "0123456789ABCDEF", strict=True)):
    _HEX_VALUE[[ord(digit) for digit in _digits]] = _value


def to_single_line(text: str) -> str:
    """Text without control characters and byte order marks, with every run of whitespace as one blank."""
    if not text.isprintable():  # concatenated lists have byte order marks in the middle
        text = CONTROL_CHARACTERS.sub(" ", text.replace("\ufeff", ""))
    return " ".join(text.split())


def plain_texts(fields: Sequence[bytes]) -> list[str]:
    """Text fields of the metadata, URL-decoded, without tags, entities and control characters.

    All fields are processed as one block of lines: for thirty million texts, a function call per step and
    text would dominate the run time.
    """
    if not fields:
        return []
    block = b"\n".join(fields)
    if block.count(b"\n") >= len(fields):  # a field of several lines, which only SQLite can store
        block = b"\n".join(field.replace(b"\n", b" ") for field in fields)
    text = _percent_decode(block.translate(_RAW_TO_BLANK)).decode("utf-8", errors="replace")
    if "<" in text:
        text = _TAG.sub(" ", text)
    if "&" in text:
        text = _unescape(text, len(fields))
    # The remaining blanks and control characters, non-ASCII or from entities, are rare.
    lines = _collapse_blanks(text).split("\n")
    return [line if line.isprintable() else to_single_line(line) for line in lines]


def _percent_decode(block: bytes) -> bytes:
    """Each `%xx` as the byte that it encodes, or as a blank if that is a control character."""
    content = np.frombuffer(block, np.uint8)
    positions = np.flatnonzero(content[:-2] == ord("%"))
    high, low = _HEX_VALUE[content[positions + 1]], _HEX_VALUE[content[positions + 2]]
    is_encoded = (high < 16) & (low < 16)
    positions = positions[is_encoded]
    content = content.copy()
    content[positions] = _DECODED[high[is_encoded] * 16 + low[is_encoded]]
    remaining = np.ones(len(content), dtype=bool)
    remaining[positions + 1] = remaining[positions + 2] = False
    return content[remaining].tobytes()


def _unescape(text: str, num_lines: int) -> str:
    """Decode HTML entities without changing the number of lines."""
    try:
        unescaped = html.unescape(text)
    except ValueError:
        text = _OVERLONG_ENTITY.sub("\ufffd", text)
        unescaped = html.unescape(text)
    if unescaped.count("\n") == num_lines - 1:
        return unescaped
    # Some entity encodes a line feed.
    return "\n".join(html.unescape(line).replace("\n", " ") for line in text.split("\n"))


def _collapse_blanks(text: str) -> str:
    """Every run of blanks as one blank, and none at the start or end of a line."""
    content = np.frombuffer(f"\n{text}\n".encode(), np.uint8)
    is_blank = content == ord(" ")
    is_gap = is_blank | (content == ord("\n"))
    remaining = ~is_blank[1:] | ~is_gap[:-1]
    return content[1:][remaining].tobytes().decode().replace(" \n", "\n")[:-1]
