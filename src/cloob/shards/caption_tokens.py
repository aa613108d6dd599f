"""Whether a caption has more tokens than a text encoder reads."""

from collections.abc import Callable, Sequence
from functools import cache

# Tokens that CLIP's text encoders read, among them the start-of-text and the end-of-text token.
CONTEXT_LENGTH = 77
_MAX_TOKENS = CONTEXT_LENGTH - 2
# The tokenizer's cleaning can lengthen a text that is not plain ASCII, in UTF-8 at most by the factors 1.2
# (HTML entities: &nGt;), 3 (Unicode normalization) and 1.5 (lower case): 5.4 in all.
_MAX_GROWTH = 6


def exceeds_context(caption: str) -> bool:
    """Whether CLIP's tokenizer truncates the caption, by open_clip's own tokenizer.

    A token has at least one byte of the text, so that most captions need not be tokenized.
    """
    if caption.isascii() and "&" not in caption:
        most_tokens = len(caption) - caption.count(" ")
    else:
        most_tokens = _MAX_GROWTH * len(caption.encode())
    return most_tokens > _MAX_TOKENS and len(_encoder()(caption)) > _MAX_TOKENS


@cache
def _encoder() -> Callable[[str], Sequence[int]]:
    """A text -> its tokens, without start and end, at most one more than are read."""
    # Here, because it imports torch (two seconds), and few captions need to be tokenized.
    from cloob.models.tokenizer import BoundedTokenizer

    return BoundedTokenizer(context_length=CONTEXT_LENGTH).encode
