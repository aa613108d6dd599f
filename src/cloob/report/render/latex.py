"""Escaping of plain text for LaTeX."""

import re
import unicodedata

from cloob.report.render.text import MAX_LENGTH, REPLACEMENT, Code, Prose, printable, prose_parts

# Special characters, and symbols that pdflatex has only in math mode.
_ESCAPES = {
    "\\": r"\textbackslash{}",
    **{character: rf"\{character}" for character in "&%$#_{}"},
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    "`": r"\textasciigrave{}",
    REPLACEMENT: "?",
    "\N{EM DASH}": "---",
    "\N{EN DASH}": "--",
    "\N{PLUS-MINUS SIGN}": r"$\pm$",
    "\N{MINUS SIGN}": "$-$",
    "\N{SQUARE ROOT}": r"$\surd$",
    "\N{MIDDLE DOT}": r"$\cdot$",
    "\N{MULTIPLICATION SIGN}": r"$\times$",
    "\N{LESS-THAN OR EQUAL TO}": r"$\leq$",
    "\N{RIGHTWARDS ARROW}": r"$\rightarrow$",
    "\N{UPWARDS ARROW}": r"$\uparrow$",
    "\N{DOWNWARDS ARROW}": r"$\downarrow$",
    "\N{GREEK SMALL LETTER BETA}": r"$\beta$",
    "\N{GREEK SMALL LETTER TAU}": r"$\tau$",
}
# Beyond ASCII, pdflatex with its default encodings (UTF-8 input, OT1 fonts) prints ASCII letters with these
# accents (grave to cedilla) and these characters.
_ACCENTS = "\u0300\u0301\u0302\u0303\u0304\u0306\u0307\u0308\u030a\u030b\u030c\u0327"
_CHARACTERS = "ßæøœÆØŒłŁ‘’“”…§©"


def latex_text(text: str) -> str:
    """Escape plain text; a character that pdflatex cannot print becomes its code point."""
    text = unicodedata.normalize("NFC", printable(text))
    # Prevent the ligatures of two hyphens (dash) and two quotes (quotation mark).
    pieces = re.split(r"(?<=-)(?=-)|(?<=')(?=')", text)
    return "{}".join("".join(map(_escaped, piece)) for piece in pieces)


def latex_cell(text: str) -> str:
    """Escape the plain text of a table cell."""
    return _protected(latex_text(printable(text, MAX_LENGTH).strip()))


def latex_prose(prose: Prose) -> str:
    """Escape a paragraph; long paths may break after a slash, a comma or an underscore."""
    parts = [_code(part) if isinstance(part, Code) else latex_text(part) for part in prose_parts(prose)]
    return _protected("".join(parts).strip())


def _escaped(character: str) -> str:
    if character in _ESCAPES:
        return _ESCAPES[character]
    letter, *accents = list(unicodedata.normalize("NFD", character))
    accented = character < "\u0180" and letter.isascii() and len(accents) == 1 and accents[0] in _ACCENTS
    if character.isascii() or accented or character in _CHARACTERS:
        return character
    return rf"\texttt{{U+{ord(character):04X}}}"


def _code(text: str) -> str:
    breakable = re.sub(r"(/|,|\\_)", r"\1\\allowbreak{}", latex_text(text))
    return rf"\texttt{{{breakable}}}"


def _protected(latex: str) -> str:
    # After a line break, [ or * would be read as its optional argument.
    return f"{{}}{latex}" if latex.startswith(("[", "*")) else latex
