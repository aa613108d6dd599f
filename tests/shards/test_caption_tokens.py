"""Captions that the tokenizer truncates are counted exactly, although few are tokenized."""

import random
import subprocess
import sys

import open_clip
import pytest

from cloob.shards.caption_tokens import CONTEXT_LENGTH, exceeds_context
from cloob.shards.captions import MAX_CHARACTERS, normalize_caption

TOKENIZER = open_clip.SimpleTokenizer()
# Texts that the tokenizer's cleaning lengthens most: entities, Unicode normalization, lower case.
GROWING = ("&nGt;", "&amp;nGt;", "\U0001d1c0", "\u0958", "İ", "Ⱥ")
ALPHABETS = (
    "abcdefghij klmnop qrstuv wxyz ",
    "0123456789 .,;!?#@%&'",
    "äöü ßéè ñ İ ",
    "日本語の 写真 한국 ",
    "👩\u200d🦰 🇦🇹 ☃ ",
    "&amp; &lt;b&gt; &nGt; ",
)


def is_truncated(caption: str) -> bool:
    return len(TOKENIZER.encode(caption)) > CONTEXT_LENGTH - 2


def random_caption(generator: random.Random) -> str:
    alphabets = generator.sample(ALPHABETS, generator.randint(1, 3))
    return "".join(generator.choice(generator.choice(alphabets)) for _ in range(generator.randint(0, 160)))


def test_random_captions_are_classified_as_by_tokenizing_all_of_them() -> None:
    generator = random.Random(0)
    captions = [random_caption(generator) for _ in range(3000)]
    expected = [is_truncated(caption) for caption in captions]
    assert 500 < sum(expected) < 2500
    assert [exceeds_context(caption) for caption in captions] == expected


@pytest.mark.parametrize("text", ["a1", "a 1 ", "!", *GROWING])
def test_captions_around_the_limit_are_classified_exactly(text: str) -> None:
    classified = [exceeds_context(text * number) for number in range(1, 90)]
    assert classified == [is_truncated(text * number) for number in range(1, 90)]


def test_seventy_five_tokens_fit() -> None:
    assert not exceeds_context("a " * 75)
    assert exceeds_context("a " * 76)


def test_short_captions_are_counted_without_importing_torch() -> None:
    script = (
        "import sys; from cloob.shards.caption_tokens import exceeds_context; "
        "assert not exceeds_context('a dog on a beach'); "
        "assert not {'torch', 'open_clip'} & sys.modules.keys()"
    )
    subprocess.run([sys.executable, "-W", "error", "-c", script], check=True)


@pytest.mark.timeout(20)
@pytest.mark.parametrize("separator", ["", " "])
def test_a_caption_of_ten_million_letters_is_classified_in_bounded_time(separator: str) -> None:
    letters = random.Random(0).choices("abcdefghijklmnopqrstuvwxyz", k=2_000)
    caption = normalize_caption(separator.join("".join(letters) for _ in range(5_000)))
    assert exceeds_context(caption)
    assert len(caption) <= MAX_CHARACTERS
