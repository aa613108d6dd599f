"""Texts made into captions: one line each; YFCC's are what users typed, as Flickr stored it.

Which of YFCC's texts CLOOB trained on is unknown; the rule is the user's to choose.
"""

import html
import re
from collections.abc import Callable
from hashlib import blake2b
from urllib.parse import unquote_to_bytes

CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]+")
# A tag begins with a letter or a slash: "<3" and "a < b" are text.
_TAG = re.compile(r"</?[A-Za-z][^<>]*>")


def one_line(text: str) -> str:
    """Text without control characters, every run of blanks a single one."""
    return " ".join((text if text.isprintable() else CONTROL.sub(" ", text)).split())


def plain_text(field: bytes) -> str:
    """A text field of the metadata: URL-decoded, without tags, entities and control characters."""
    # Most texts need few of these steps, and the metadata holds thirty million texts.
    field = field.replace(b"+", b" ")
    text = (unquote_to_bytes(field) if b"%" in field else field).decode("utf-8", errors="replace")
    if "<" in text:
        text = _TAG.sub(" ", text)
    return one_line(html.unescape(text) if "&" in text else text)


def _either(title: str, description: str, photo_id: str) -> str:
    """One of the two at random, always the same of a photo; the other where that is empty."""
    if blake2b(photo_id.encode(), digest_size=1).digest()[0] & 1:
        return title or description
    return description or title


# Of title, description and photo id.
RULES: dict[str, Callable[[str, str, str], str]] = {
    "title_description": lambda title, description, _: f"{title} {description}".strip(),
    "title": lambda title, *_: title,
    "description": lambda _, description, __: description,
    "random": _either,
}
