"""The tokenizer equals open_clip's, in bounded time and memory for any text."""

import random
import time

import open_clip
import pytest
import torch

from cloob.models import tokenizer as module
from cloob.models.tokenizer import WORD_BYTES_PER_TOKEN, BoundedTokenizer, tokenizer_for

OPEN_CLIPS = open_clip.SimpleTokenizer()
LETTERS = "etaoinshrdlu"
MAX_WORD_BYTES = 77 * WORD_BYTES_PER_TOKEN
TEXTS = [
    "a photo of two dogs, a cat & the neighbor's 3 birds!",
    "",
    " \n\t ",
    "grass " * 100,
    "Caf\u00e9 \u65e5\u672c\u8a9e\u306e \u5199\u771f \U0001f469\u200d\U0001f9b0 \u2603",
    "&amp;lt;b&gt; &nGt; \u00c3\u00a9t\u00c3\u00a9",
    "<start_of_text> a dog <end_of_text> and more",
    "I'll say we've done what they'd asked, it's done",
    "=" * 5000,
    "aaaaaaaa " * 500 + "end",
    "\U0001f602" * 700,
    "x" * 5000,
]


def random_word(generator: random.Random, length: int) -> str:
    return "".join(generator.choices(LETTERS, k=length))


@pytest.mark.parametrize("context_length", [77, 20, 4])
def test_tokens_equal_open_clips(context_length: int) -> None:
    generator = random.Random(0)
    texts = TEXTS + [
        " ".join(random_word(generator, generator.randint(1, 90)) for _ in range(30)) for _ in range(50)
    ]
    texts += [random_word(generator, length) for length in (75, 76, 77, 500, MAX_WORD_BYTES)]
    ours = BoundedTokenizer(context_length=context_length)
    expected = open_clip.SimpleTokenizer(context_length=context_length)(texts)
    assert torch.equal(ours(texts), expected)
    assert torch.equal(ours(texts), expected)  # with words that are remembered


def test_longer_words_have_open_clips_first_tokens() -> None:
    generator = random.Random(1)
    words = [random_word(generator, MAX_WORD_BYTES + more) for more in (1, 40, 1_400) for _ in range(3)]
    words += [text * MAX_WORD_BYTES for text in ("a", "=", "\u00e9", "\U0001f602")]
    assert torch.equal(BoundedTokenizer()(words), OPEN_CLIPS(words))


def test_longer_contexts_have_open_clips_tokens_of_long_words() -> None:
    words = [text * 9_000 for text in ("-", ".", "a", "\U0001f602")]
    expected = open_clip.SimpleTokenizer(context_length=256)(words)
    assert torch.equal(BoundedTokenizer(context_length=256)(words), expected)


def test_vocabulary_has_no_token_longer_than_the_word_limit_assumes() -> None:
    longest = max(len(token.removesuffix("</w>")) for token in OPEN_CLIPS.encoder)
    assert longest < WORD_BYTES_PER_TOKEN


@pytest.mark.timeout(60)
@pytest.mark.parametrize("separator", ["", "1", "."])
def test_a_megabyte_without_blanks_takes_bounded_time(separator: str) -> None:
    generator = random.Random(2)
    text = separator.join(random_word(generator, 50_000) for _ in range(20))
    start = time.process_time()
    [tokens] = tokenizer_for({"text_cfg": {"context_length": 77}})([text])
    assert len(tokens) == 77
    assert time.process_time() - start < 20  # without a limit: hours


def test_only_so_many_words_are_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "REMEMBERED_WORDS", 10)
    ours, generator = BoundedTokenizer(), random.Random(3)
    before = entries(ours)
    for _ in range(100):
        text = " ".join(random_word(generator, 9) for _ in range(5))
        assert torch.equal(ours([text]), OPEN_CLIPS([text]))
    assert entries(ours) == before + 10


def test_long_words_are_not_remembered() -> None:
    ours, generator = BoundedTokenizer(), random.Random(4)
    before = entries(ours)
    for length in (65, 1_000, 100_000):
        ours([random_word(generator, length)])
    assert entries(ours) == before
    ours([random_word(generator, 64)])
    assert entries(ours) == before + 1


def entries(tokenizer: BoundedTokenizer) -> int:
    """The entries of all its dictionaries."""
    return sum(len(value) for value in vars(tokenizer).values() if isinstance(value, dict))
