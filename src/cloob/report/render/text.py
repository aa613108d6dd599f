"""Plain text from configs, files and servers: the normalization that all output formats share.

Escaping per format: `markdown.py`, `latex.py`; HTML is generated from the Markdown (`html.py`); figures use
`style.figure_text`.
"""

import re
import unicodedata
from collections.abc import Sequence

MAX_LENGTH = 300  # characters of a text in tables; longer ones are truncated visibly
REPLACEMENT = "\N{REPLACEMENT CHARACTER}"


class Code(str):
    """A part of a `Prose` in monospace: a path or a name to copy."""

    __slots__ = ()


# A paragraph: a literal with `code` in backticks, or, if it contains data, parts that are text or `Code`.
Prose = str | Sequence[str]


def prose_parts(prose: Prose) -> Sequence[str]:
    """The parts of a paragraph."""
    if not isinstance(prose, str):
        return prose
    parts = prose.split("`")
    # An unpaired backtick is text.
    if len(parts) % 2 == 0:
        return [prose]
    return [Code(part) if index % 2 else part for index, part in enumerate(parts)]


def code_list(names: Sequence[str]) -> list[str]:
    """Names as `Code`, separated by commas."""
    return [part for name in names for part in (", ", Code(name))][1:]


def printable(text: str, max_length: int | None = None) -> str:
    """Text as a single line that every format can contain; applied before all escaping.

    Whitespace is collapsed. Control characters, noncharacters and lone surrogates (of file names that are not
    UTF-8) become U+FFFD. Text longer than `max_length` characters ends with an ellipsis.
    """
    line = re.sub(r"\s+", " ", text)
    line = "".join(REPLACEMENT if _is_unprintable(character) else character for character in line)
    if max_length is None or len(line) <= max_length:
        return line
    return f"{line[: max_length - 1].rstrip()}…"


def _is_unprintable(character: str) -> bool:
    code = ord(character)
    is_noncharacter = code & 0xFFFE == 0xFFFE or 0xFDD0 <= code <= 0xFDEF
    return is_noncharacter or unicodedata.category(character) in ("Cc", "Cs")
