"""Plain text as LaTeX prints it."""

import re
import unicodedata

from cloob.report.render.text import MOST, REPLACEMENT, Code, Prose, parts_of, printable

# LaTeX's own characters, and symbols that pdflatex has only in math.
_ESCAPES = {
    "\\": r"\textbackslash{}",
    **{each: rf"\{each}" for each in "&%$#_{}"},
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
    "\N{MIDDLE DOT}": r"$\cdot$",
    "\N{MULTIPLICATION SIGN}": r"$\times$",
    "\N{LESS-THAN OR EQUAL TO}": r"$\leq$",
    "\N{RIGHTWARDS ARROW}": r"$\rightarrow$",
    "\N{UPWARDS ARROW}": r"$\uparrow$",
    "\N{DOWNWARDS ARROW}": r"$\downarrow$",
    "\N{GREEK SMALL LETTER BETA}": r"$\beta$",
    "\N{GREEK SMALL LETTER TAU}": r"$\tau$",
}
# Beyond ASCII, pdflatex prints these as they are, in its default encodings of input (UTF-8) and fonts (OT1):
# ASCII letters with these accents (grave to cedilla), and these characters.
_ACCENTS = "\u0300\u0301\u0302\u0303\u0304\u0306\u0307\u0308\u030a\u030b\u030c\u0327"
_CHARACTERS = "ßæøœÆØŒłŁ‘’“”…§©"


def escaped(text: str) -> str:
    """Plain text in LaTeX; a character that pdflatex cannot print becomes its code point."""
    text = unicodedata.normalize("NFC", printable(text))
    # Two hyphens or quotes in a row would become one dash or quotation mark.
    pieces = re.split(r"(?<=-)(?=-)|(?<=')(?=')", text)
    return "{}".join("".join(map(_character, piece)) for piece in pieces)


def _character(character: str) -> str:
    if character in _ESCAPES:
        return _ESCAPES[character]
    letter, *accents = unicodedata.normalize("NFD", character)
    accented = character < "\u0180" and letter.isascii() and len(accents) == 1 and accents[0] in _ACCENTS
    if character.isascii() or accented or character in _CHARACTERS:
        return character
    return rf"\texttt{{U+{ord(character):04X}}}"


def escaped_prose(prose: Prose) -> str:
    """A paragraph in LaTeX; long paths may break after a slash, a comma or an underscore."""
    parts = [_code(part) if isinstance(part, Code) else escaped(part) for part in parts_of(prose)]
    return _unbracketed("".join(parts).strip())


def _code(text: str) -> str:
    breakable = re.sub(r"(/|,|\\_)", r"\1\\allowbreak{}", escaped(text))
    return rf"\texttt{{{breakable}}}"


def escaped_cell(text: str) -> str:
    """Plain text in a cell of a LaTeX table."""
    return _unbracketed(escaped(printable(text, MOST).strip()))


def _unbracketed(latex: str) -> str:
    # A [ or * behind the end of a line would be read as its option.
    return f"{{}}{latex}" if latex.startswith(("[", "*")) else latex
