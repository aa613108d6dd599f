"""Text from configs, files and servers is shown as text: what all output formats share, and Markdown.

LaTeX: `latex.py`. HTML pages are made from the Markdown: `page.py`. Figures: `style.shown`.
"""

import re
import unicodedata
from collections.abc import Sequence
from html import escape

MOST = 300  # characters of one printed text; the rest is cut off visibly
REPLACEMENT = "\N{REPLACEMENT CHARACTER}"


class Code(str):
    """A part of a `Prose` that is printed in fixed width: a path or a name to type."""

    __slots__ = ()


# A paragraph: parts, plain text or `Code`, where it holds data; or a string of our own, `code` in backticks.
Prose = str | Sequence[str]


def parts_of(prose: Prose) -> Sequence[str]:
    """The parts of a paragraph."""
    if not isinstance(prose, str):
        return prose
    parts = prose.split("`")
    # A backtick without its partner is text.
    return (
        [Code(part) if place % 2 else part for place, part in enumerate(parts)] if len(parts) % 2 else [prose]
    )


def listed(names: Sequence[str]) -> list[str]:
    """Names as `Code`, with commas between them."""
    return [part for name in names for part in (", ", Code(name))][1:]


def printable(text: str, most: int | None = None) -> str:
    """Text as one line that every format can hold; all functions below begin with it.

    White space becomes single blanks. A control character, a noncharacter, or half of a surrogate pair (of a
    file name that is not UTF-8) becomes U+FFFD. What is longer than `most` characters ends in an ellipsis.
    """
    line = re.sub(r"\s+", " ", text)
    line = "".join(REPLACEMENT if _unprintable(character) else character for character in line)
    return line if most is None or len(line) <= most else f"{line[: most - 1].rstrip()}…"


def _unprintable(character: str) -> bool:
    code = ord(character)
    noncharacter = code & 0xFFFE == 0xFFFE or 0xFDD0 <= code <= 0xFDEF
    return noncharacter or unicodedata.category(character) in ("Cc", "Cs")


# What is markup in CommonMark, GitHub's extensions of it, or Python-Markdown; only where it is, so that an
# underscore between letters or a "<" before a digit stays readable in the file.
_MARKDOWN = re.compile(
    r"""
    [\\`*|~$]
    | &(?=\#?\w+;) | <(?=[A-Za-z/!?])
    | (?<![^\W_])_ | _(?![^\W_])
    | \[(?=\^) | ^\[(?=[^\]]*\]:) | \](?=[(\[:])  # footnotes, definitions, links, images
    | :(?=//) | (?<=www)\.                  # addresses, which GitHub links
    | ^[#>=] | ^[-+](?=[\s+-]|$) | ^\d+[.)](?=\s|$)
    | \#(?=\#*$)                            # the closing sequence of a heading
    """,
    re.VERBOSE | re.IGNORECASE,
)


def markdown_text(text: str) -> str:
    """Plain text in Markdown."""
    return _MARKDOWN.sub(_markdown_character, printable(text, MOST).strip())


def markdown_prose(prose: Prose) -> str:
    """A paragraph in Markdown."""
    parts = [
        _markdown_code(part)
        if isinstance(part, Code)
        else _MARKDOWN.sub(_markdown_character, printable(part))
        for part in parts_of(prose)
    ]
    return "".join(parts).strip()


def _markdown_character(matched: re.Match[str]) -> str:
    before, character = matched[0][:-1], matched[0][-1]
    if character in "&<":
        return escape(character)
    # Python-Markdown knows no backslash escape of these.
    return f"{before}&#{ord(character)};" if character in "~$:=" else f"{before}\\{character}"


def _markdown_code(text: str) -> str:
    text = printable(text)
    fence = "`" * (1 + max((len(run) for run in re.findall("`+", text)), default=0))
    padding = " " if len(fence) > 1 else ""
    return f"{fence}{padding}{text}{padding}{fence}" if text.strip() else ""
