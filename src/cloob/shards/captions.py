"""Caption normalization: a single line in Unicode NFC. The original caption is kept in the sample's JSON."""

import re
import unicodedata

# C0 and C1 controls (Unicode category Cc). Format characters are kept: emoji and many scripts need joiners.
_CONTROL_CHARACTERS = re.compile(r"[\x00-\x1f\x7f-\x9f]")
# A text encoder reads 77 tokens. The tokenizer's time is quadratic in the length of a word: 6 s for 16,000
# letters.
MAX_CHARACTERS, MAX_WORD_CHARACTERS = 10_000, 1_000


def normalize_caption(caption: str) -> str:
    """The caption in Unicode NFC, without byte order marks.

    Control characters become spaces; runs of whitespace become a single space. Of a longer caption, the first
    `MAX_CHARACTERS` are kept, and of a longer word `MAX_WORD_CHARACTERS`.
    """
    text = unicodedata.normalize("NFC", caption[:MAX_CHARACTERS])
    if not text.isprintable():
        text = _CONTROL_CHARACTERS.sub(" ", text.replace("\ufeff", ""))
    return " ".join(word[:MAX_WORD_CHARACTERS] for word in text.split())
