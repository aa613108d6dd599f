"""Captions as training reads them: one line of composed characters; what was written stays in the JSON."""

import re
import unicodedata

# C0 and C1 controls (Unicode's Cc). Format characters stay: joiners make emoji and letters of many scripts.
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")


def normalize_caption(caption: str) -> str:
    """The caption in Unicode's NFC, control characters as blanks, every run of blanks a single one.

    Byte order marks are left out.
    """
    text = unicodedata.normalize("NFC", caption)
    if not text.isprintable():
        text = _CONTROL.sub(" ", text.replace("\ufeff", ""))
    return " ".join(text.split())
