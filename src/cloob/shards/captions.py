"""Caption normalization: a single line in Unicode NFC. The original caption is kept in the sample's JSON."""

import re
import unicodedata

# C0 and C1 controls (Unicode category Cc). Format characters are kept: emoji and many scripts need joiners.
_CONTROL_CHARACTERS = re.compile(r"[\x00-\x1f\x7f-\x9f]")


def normalize_caption(caption: str) -> str:
    """The caption in Unicode NFC, without byte order marks.

    Control characters become spaces; runs of whitespace become a single space.
    """
    text = unicodedata.normalize("NFC", caption)
    if not text.isprintable():
        text = _CONTROL_CHARACTERS.sub(" ", text.replace("\ufeff", ""))
    return " ".join(text.split())
