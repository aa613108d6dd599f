"""CLIP's byte-pair tokenizer in bounded time and memory."""

from collections.abc import Callable
from functools import lru_cache

import open_clip
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from cloob.models.config import ModelConfig

# Texts whose tokens are kept, up to 20 MB: all captions of a small corpus, which every epoch reads again.
_REMEMBERED_TEXTS = 2**15
# Words whose tokens are kept, the first that occur, up to 20 MB. open_clip keeps all: millions in YFCC100M.
REMEMBERED_WORDS, MAX_REMEMBERED_CHARACTERS = 2**16, 64
# So many bytes of a word are read per token of the context, of which no token has more than 32. The time is
# quadratic: 0.2 s for a context of 77.
WORD_BYTES_PER_TOKEN = 34


def tokenizer_for(config: ModelConfig) -> Callable[[list[str]], Tensor]:
    """CLIP's byte-pair tokenizer: a list of N texts -> tokens (N, L), int64.

    L is the number of tokens of the longest text including its end-of-text token, at most the context length.
    """
    tokenize = BoundedTokenizer(context_length=config["text_cfg"]["context_length"])

    @lru_cache(_REMEMBERED_TEXTS)
    def tokenize_one(text: str) -> Tensor:
        [tokens] = tokenize([text])
        return tokens[: int(tokens.argmax()) + 1].clone()  # the end-of-text token has the largest token id

    return lambda texts: pad_sequence([tokenize_one(text) for text in texts], batch_first=True)


class BoundedTokenizer(open_clip.SimpleTokenizer):
    """open_clip's tokenizer, which stops where the context ends.

    A list of N texts -> tokens (N, context length), int64, the same as open_clip's. Only the last ones of a
    word of more than `WORD_BYTES_PER_TOKEN` bytes per token of the context can differ.
    """

    def __init__(self, *, context_length: int = open_clip.tokenizer.DEFAULT_CONTEXT_LENGTH) -> None:
        super().__init__(context_length=context_length)
        self.cache: dict[str, str] = _ReadOnlyDict(self.cache)  # of the special tokens
        self._tokens_of_words: dict[str, list[int]] = {}

    def encode(self, text: str) -> list[int]:
        """The tokens of a text without start and end, at most until they are too many for the context."""
        tokens: list[int] = []
        for match in self.pat.finditer(self.clean_fn(text)):
            tokens += self._tokens_of_word(match.group())
            if len(tokens) >= self.context_length - 1:  # one more than fits beside start and end
                break
        return tokens

    def _tokens_of_word(self, word: str) -> list[int]:
        tokens = self._tokens_of_words.get(word)
        if tokens is None:
            max_bytes = WORD_BYTES_PER_TOKEN * self.context_length
            symbols = "".join(self.byte_encoder[byte] for byte in word.encode()[:max_bytes])
            tokens = [self.encoder[part] for part in self.bpe(symbols).split(" ")]
            if len(self._tokens_of_words) < REMEMBERED_WORDS and len(word) <= MAX_REMEMBERED_CHARACTERS:
                self._tokens_of_words[word] = tokens
        return tokens


class _ReadOnlyDict(dict[str, str]):
    """A cache that ignores new entries."""

    def __setitem__(self, key: str, value: str) -> None:
        pass
