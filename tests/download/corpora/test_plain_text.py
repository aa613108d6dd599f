"""Texts of the metadata made plain."""

import html
import random
import re
from urllib.parse import quote_plus, unquote_to_bytes

import pytest

from cloob.download.corpora.plain_text import plain_texts, to_single_line

ODD = [b"%", b"%2", b"%zz", b"%25", b"%2B", b"%0A", b"%0d", b"%00", b"%09", b"%7F", b"%85", b"%C2%85", b"%C2"]
ODD += [b"%E3%81", b"%E3%81%82", b"%F0%9F%98%80", b"%C2%A0", b"%E2%80%A8", b"%E3%80%80", b"\xff", b"\xe3\x81"]
ODD += [b"\xc2\x85", b"+", b" ", b"\r", b"\n", b"\t", b"\x00", b"\x0b", b"\x1e", b"\x7f", b"<", b">", b"%3C"]
ODD += [b"%3E", b"%3Cb%3E", b"%3C%2Fa", b"&", b"%26", b"&amp;", b"&amp", b"&lt", b"&lt;b&gt;", b"&#10;"]
ODD += [
    b"&#10",
    b"&#x0A;",
    b"&NewLine;",
    b"&Tab;",
    b"&nbsp;",
    b"&#129;",
    b"&#13;",
    b"&#0;",
    b"a",
    b"B",
    b"word",
]
ODD += [b"41", b"3", b";", b"#"]


def step_by_step(field: bytes) -> str:
    """A text made plain, as the words in docs/captions.md have it."""
    text = unquote_to_bytes(field.replace(b"+", b" ")).decode("utf-8", errors="replace")
    text = html.unescape(re.sub(r"</?[A-Za-z][^<>]*>", " ", text))
    return " ".join(re.sub(r"[\x00-\x1f\x7f-\x9f]", " ", text).split())


@pytest.mark.parametrize("seed", range(10))
def test_all_at_once_is_as_one_by_one(seed: int):
    draw = random.Random(seed)
    for _ in range(500):
        fields = [b"".join(draw.choices(ODD, k=draw.randint(0, 12))) for _ in range(draw.randint(0, 6))]
        assert plain_texts(fields) == [step_by_step(field) for field in fields]


def test_no_text_reaches_into_the_next():
    fields = [b"i+%3C", b"b", b"a+%3Cb", b"c%3E", b"%4", b"1", b"&am", b"p;", b"", b"a+", b"+b"]
    assert plain_texts(fields) == ["i <", "b", "a <b", "c>", "%4", "1", "&am", "p;", "", "a", "b"]


def test_every_text_in_any_script_keeps_its_letters():
    texts = ["Käse & Brot", "犬と猫", "кошка", "🐕 dog", "á", "ﬃ", "a%20b", "1 < 2 > 0", "100% + 1"]
    assert plain_texts([quote_plus(text).encode() for text in texts]) == texts


@pytest.mark.parametrize("more", [b"", b"&#10;"])
def test_an_entity_of_five_thousand_digits_is_no_character(more: bytes):
    fields = [b"a&amp;b" + more, b"&#" + b"1" * 5000 + b";!"]
    assert plain_texts(fields) == ["a&b", "\ufffd!"]


def test_a_byte_order_mark_in_the_middle_of_joined_lists_is_no_text() -> None:
    assert one_line("\ufeff\ufeffa cat") == "a cat"
