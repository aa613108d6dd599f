"""Texts made into captions: one line each; YFCC's are what users typed, as Flickr stored it.

Which of YFCC's texts CLOOB trained on is unknown; the rule is the user's to choose.
"""

import html
import re
from collections.abc import Callable, Sequence
from hashlib import blake2b

import numpy as np

CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]+")
# A tag begins with a letter or a slash: "<3" and "a < b" are text. None reaches into the next text.
_TAG = re.compile(r"</?[A-Za-z][^<>\n]*>")
# An entity whose number Python refuses to read (more than 4300 digits); none of them is a character.
_ENDLESS = re.compile(r"&#[0-9]{4301,};?")
# What stands for a blank in a stored text (a line feed ends it), and what each byte that is `%xx` becomes.
_BLANKS = bytes(range(32)) + b"\x7f+"
_STORED = bytes.maketrans(_BLANKS.replace(b"\n", b""), b" " * (len(_BLANKS) - 1))
_MEANT = np.array([32 if byte < 32 or byte == 127 else byte for byte in range(256)], np.uint8)
_HEX = np.full(256, 255, np.uint8)
for _value, _digits in enumerate(zip("0123456789abcdef", "0123456789ABCDEF", strict=True)):
    _HEX[[ord(digit) for digit in _digits]] = _value


def one_line(text: str) -> str:
    """Text without control characters and byte order marks, every run of blanks a single one."""
    if not text.isprintable():  # lists that were joined have a byte order mark in the middle
        text = CONTROL.sub(" ", text.replace("\ufeff", ""))
    return " ".join(text.split())


def plain_texts(fields: Sequence[bytes]) -> list[str]:
    """Text fields of the metadata, URL-decoded, without tags, entities and control characters.

    All are treated at once, a line each: thirty million texts are wanted, and a call for each step of each
    would take longer than anything else.
    """
    if not fields:
        return []
    block = b"\n".join(fields)
    if block.count(b"\n") >= len(fields):  # a text of several lines, as only SQLite can store it
        block = b"\n".join(field.replace(b"\n", b" ") for field in fields)
    text = _unquoted(block.translate(_STORED)).decode("utf-8", errors="replace")
    if "<" in text:
        text = _TAG.sub(" ", text)
    if "&" in text:
        text = _unescaped(text, len(fields))
    # What is left of blanks and controls that are not ASCII, or were entities, is rare.
    lines = _single_blanks(text).split("\n")
    return [line if line.isprintable() else one_line(line) for line in lines]


def _unquoted(block: bytes) -> bytes:
    """`%xx` as the byte that it means, or as a blank where that is a control character."""
    content = np.frombuffer(block, np.uint8)
    signs = np.flatnonzero(content[:-2] == ord("%"))
    high, low = _HEX[content[signs + 1]], _HEX[content[signs + 2]]
    meant = (high < 16) & (low < 16)
    signs = signs[meant]
    content = content.copy()
    content[signs] = _MEANT[high[meant] * 16 + low[meant]]
    left = np.ones(len(content), dtype=bool)
    left[signs + 1] = left[signs + 2] = False
    return content[left].tobytes()


def _unescaped(text: str, lines: int) -> str:
    """Without entities, as many lines as before."""
    try:
        whole = html.unescape(text)
    except ValueError:
        text = _ENDLESS.sub("\ufffd", text)
        whole = html.unescape(text)
    if whole.count("\n") == lines - 1:
        return whole
    # Some entity means a line feed.
    return "\n".join(html.unescape(line).replace("\n", " ") for line in text.split("\n"))


def _single_blanks(text: str) -> str:
    """Every run of spaces a single one, and none at a line's begin or end."""
    content = np.frombuffer(f"\n{text}\n".encode(), np.uint8)
    blank = content == ord(" ")
    gap = blank | (content == ord("\n"))
    left = ~blank[1:] | ~gap[:-1]
    return content[1:][left].tobytes().decode().replace(" \n", "\n")[:-1]


def _either(title: str, description: str, photo_id: str) -> str:
    """One of the two at random, always the same of a photo; the other where that is empty."""
    if blake2b(photo_id.encode(), digest_size=1).digest()[0] & 1:
        return title or description
    return description or title


# Of title, description and photo id.
RULES: dict[str, Callable[[str, str, str], str]] = {
    "title_description": lambda title, description, _: f"{title} {description}".strip(),
    "title": lambda title, *_: title,
    "description": lambda _, description, __: description,
    "random": _either,
}
