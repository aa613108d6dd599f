"""Rules that compose a caption from the title and description of a YFCC100M photo (docs/captions.md).

Which texts CLOOB was trained on is not published, so the rule is an option.
"""

from collections.abc import Callable
from hashlib import blake2b


def _random_text(title: str, description: str, photo_id: str) -> str:
    """Title or description, a fixed random choice per photo; the other one if that is empty."""
    if blake2b(photo_id.encode(), digest_size=1).digest()[0] & 1:
        return title or description
    return description or title


# Name -> function of (title, description, photo id).
CAPTION_RULES: dict[str, Callable[[str, str, str], str]] = {
    "title_description": lambda title, description, _: f"{title} {description}".strip(),
    "title": lambda title, *_: title,
    "description": lambda _, description, __: description,
    "random": _random_text,
}
