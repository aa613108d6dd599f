"""Texts made into captions: one line each; YFCC's are what users typed, as Flickr stored it.

Which of YFCC's texts CLOOB trained on is unknown; the rule is the user's to choose.
"""

import html
import re
from collections.abc import Callable
from urllib.parse import unquote_to_bytes

CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]+")
# A tag begins with a letter or a slash: "<3" and "a < b" are text.
_TAG = re.compile(r"</?[A-Za-z][^<>]*>")


def one_line(text: str) -> str:
    """Text without control characters, every run of blanks a single one."""
    return " ".join(CONTROL.sub(" ", text).split())


def plain_text(field: bytes) -> str:
    """A text field of the metadata: URL-decoded, without tags, entities and control characters."""
    text = unquote_to_bytes(field.replace(b"+", b" ")).decode("utf-8", errors="replace")
    return one_line(html.unescape(_TAG.sub(" ", text)))


RULES: dict[str, Callable[[str, str], str]] = {
    "title_description": lambda title, description: f"{title} {description}".strip(),
    "title": lambda title, _: title,
    "description": lambda _, description: description,
}
