"""Cleaning of captions to single-line plain text."""

import html
import random
import re
from urllib.parse import quote_plus, unquote_to_bytes

import pytest

from cloob.download.corpora.plain_text import plain_texts, to_single_line

FRAGMENTS = [
    *(b"%", b"%2", b"%zz", b"%25", b"%2B", b"%0A", b"%0d", b"%00", b"%09", b"%7F", b"%85", b"%C2%85", b"%C2"),
    *(b"%E3%81", b"%E3%81%82", b"%F0%9F%98%80", b"%C2%A0", b"%E2%80%A8", b"%E3%80%80", b"\xff", b"\xe3\x81"),
    *(b"\xc2\x85", b"+", b" ", b"\r", b"\n", b"\t", b"\x00", b"\x0b", b"\x1e", b"\x7f", b"<", b">", b"%3C"),
    *(b"%3E", b"%3Cb%3E", b"%3C%2Fa", b"&", b"%26", b"&amp;", b"&amp", b"&lt", b"&lt;b&gt;", b"&#10;"),
    *(b"&#10", b"&#x0A;", b"&NewLine;", b"&Tab;", b"&nbsp;", b"&#129;", b"&#13;", b"&#0;"),
    *(b"a", b"B", b"word", b"41", b"3", b";", b"#"),
]


def plain_text_step_by_step(field: bytes) -> str:
    """Reference implementation: the steps that docs/captions.md describes, for a single text."""
    text = unquote_to_bytes(field.replace(b"+", b" ")).decode("utf-8", errors="replace")
    text = html.unescape(re.sub(r"</?[A-Za-z][^<>]*>", " ", text))
    return " ".join(re.sub(r"[\x00-\x1f\x7f-\x9f]", " ", text).split())


@pytest.mark.parametrize("seed", range(10))
def test_cleaning_a_batch_equals_cleaning_each_text_step_by_step(seed: int) -> None:
    rng = random.Random(seed)
    for _ in range(500):
        fields = [b"".join(rng.choices(FRAGMENTS, k=rng.randint(0, 12))) for _ in range(rng.randint(0, 6))]
        assert plain_texts(fields) == [plain_text_step_by_step(field) for field in fields]


def test_tags_entities_and_escapes_do_not_span_two_texts() -> None:
    fields = [b"i+%3C", b"b", b"a+%3Cb", b"c%3E", b"%4", b"1", b"&am", b"p;", b"", b"a+", b"+b"]
    assert plain_texts(fields) == ["i <", "b", "a <b", "c>", "%4", "1", "&am", "p;", "", "a", "b"]


def test_url_encoded_text_in_any_script_is_restored() -> None:
    texts = ["Käse & Brot", "犬と猫", "кошка", "🐕 dog", "á", "ﬃ", "a%20b", "1 < 2 > 0", "100% + 1"]
    assert plain_texts([quote_plus(text).encode() for text in texts]) == texts


@pytest.mark.parametrize("suffix", [b"", b"&#10;"])
def test_a_numeric_entity_of_5000_digits_becomes_a_replacement_character(suffix: bytes) -> None:
    fields = [b"a&amp;b" + suffix, b"&#" + b"1" * 5000 + b";!"]
    assert plain_texts(fields) == ["a&b", "\ufffd!"]


def test_a_byte_order_mark_in_the_middle_of_concatenated_lists_is_removed() -> None:
    assert to_single_line("\ufeff\ufeffa cat") == "a cat"
