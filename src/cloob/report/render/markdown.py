"""Escaping of plain text for Markdown."""

import re
from html import escape

from cloob.report.render.text import MAX_LENGTH, Code, Prose, printable, prose_parts

# Markup of CommonMark, GitHub Flavored Markdown and Python-Markdown, matched only in positions where it is
# markup: an underscore within a word or a "<" before a digit stays as it is.
_MARKUP = re.compile(
    r"""
    [\\`*|~$]
    | &(?=\#?\w+;) | <(?=[A-Za-z/!?])
    | (?<![^\W_])_ | _(?![^\W_])
    | \[(?=\^) | ^\[(?=[^\]]*\]:) | \](?=[(\[:])  # footnotes, definitions, links, images
    | :(?=//) | (?<=www)\.                  # URLs, which GitHub turns into links
    | ^[#>=] | ^[-+](?=[\s+-]|$) | ^\d+[.)](?=\s|$)
    | \#(?=\#*$)                            # the closing sequence of a heading
    """,
    re.VERBOSE | re.IGNORECASE,
)


def markdown_text(text: str) -> str:
    """Escape plain text."""
    return _MARKUP.sub(_escaped, printable(text, MAX_LENGTH).strip())


def markdown_prose(prose: Prose) -> str:
    """Escape a paragraph."""
    parts = [
        _code(part) if isinstance(part, Code) else _MARKUP.sub(_escaped, printable(part))
        for part in prose_parts(prose)
    ]
    return "".join(parts).strip()


def _escaped(match: re.Match[str]) -> str:
    before, character = match[0][:-1], match[0][-1]
    if character in "&<":
        return escape(character)
    # Python-Markdown has no backslash escapes for these.
    return f"{before}&#{ord(character)};" if character in "~$:=" else f"{before}\\{character}"


def _code(text: str) -> str:
    text = printable(text)
    fence = "`" * (1 + max((len(run) for run in re.findall("`+", text)), default=0))
    padding = " " if len(fence) > 1 else ""
    return f"{fence}{padding}{text}{padding}{fence}" if text.strip() else ""
