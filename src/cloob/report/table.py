"""A table for reading, written as Markdown and as LaTeX (booktabs), beside the long CSV of its numbers."""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pandas as pd

from cloob.files import replacing
from cloob.report.names import titled
from cloob.report.results import write_table

MISSING = "—"
# What LaTeX does not take as it stands: its own characters, and those that pdflatex has no glyph for.
_ESCAPES = {
    "\\": r"\textbackslash{}",
    **{each: rf"\{each}" for each in "&%$#_{}"},
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    MISSING: "---",
    "–": "--",
    "±": r"$\pm$",
    "−": "$-$",
    "·": r"$\cdot$",
    "×": r"$\times$",
    "≤": r"$\leq$",
    "→": r"$\rightarrow$",
    "↑": r"$\uparrow$",
    "↓": r"$\downarrow$",
    "β": r"$\beta$",
    "τ": r"$\tau$",
}
# Environment and size, then in points: half the gap of two columns, the width that there is (a column or the
# page of a two-column paper), and that of a character.
_SIZES = (
    ("table", r"\footnotesize", 4, 234, 4.4),
    ("table*", r"\footnotesize", 4, 483, 4.4),
    ("table*", r"\scriptsize", 2, 483, 4.0),
    ("table*", r"\tiny", 2, 483, 3.4),
)
# What is wider all the same, or on a narrower page, is shrunk to it.
_FIT = r"  \resizebox{\ifdim\width>\linewidth\linewidth\else\width\fi}{!}{%"


@dataclass(frozen=True)
class Cell:
    """One cell; `note` is the marker of a footnote of its section."""

    text: str
    bold: bool = False
    note: str = ""


@dataclass(frozen=True)
class Section:
    """One grid under a heading.

    `columns` are LaTeX's, one each (l, r, c, p{…}); a line sets `summary_rows` at the end apart.
    """

    title: str
    columns: Sequence[str]
    head: Sequence[str]
    rows: Sequence[Sequence[Cell | str]]
    notes: dict[str, str] = field(default_factory=dict)  # marker -> text; `code` between backticks
    summary_rows: int = 0
    remarks: Sequence[str] = ()


@dataclass(frozen=True)
class Document:
    """What one file of tables holds: sections, and remarks that hold for all of them."""

    title: str
    sections: Sequence[Section]
    remarks: Sequence[str] = ()


def write_document(document: Document, long: pd.DataFrame, mark: str, csv: Path) -> list[Path]:
    """Write `csv` from the long table, and the document beside it as .md and .tex; returns the three paths.

    `mark` (the config's label) joins every title: where the numbers come from.
    """
    markdown, tex = csv.with_suffix(".md"), csv.with_suffix(".tex")
    write_table(long, csv)
    for path, text in ((markdown, as_markdown(document, mark)), (tex, as_tex(document, mark, csv.stem))):
        with replacing(path) as beside:
            beside.write_text(text, encoding="utf-8", errors="backslashreplace")
    return [csv, markdown, tex]


def as_markdown(document: Document, mark: str) -> str:
    """The document in Markdown."""
    lines = [f"# {titled(document.title, mark)}", ""]
    for section in document.sections:
        lines += [f"## {section.title}", ""] if section.title else []
        lines.append(_markdown_row(section.head))
        lines.append(_markdown_row(["---:" if each == "r" else "---" for each in section.columns]))
        lines += [_markdown_row([_markdown_cell(each) for each in row]) for row in section.rows]
        lines += ["", *(f"- [{marker}] {text}" for marker, text in section.notes.items())]
        lines += ["", *section.remarks] if section.notes and section.remarks else section.remarks
        lines += [""] if section.notes or section.remarks else []
    return "\n".join([*lines, *document.remarks]).rstrip() + "\n"


def _markdown_row(cells: Iterable[str]) -> str:
    return f"| {' | '.join(each.replace('|', chr(92) + '|') for each in cells)} |"


def _markdown_cell(cell: Cell | str) -> str:
    cell = cell if isinstance(cell, Cell) else Cell(cell)
    text = f"**{cell.text}**" if cell.bold else cell.text
    return f"{text} [{cell.note}]" if cell.note else text


def as_tex(document: Document, mark: str, name: str) -> str:
    """The document as LaTeX tables: one `table` per section, captioned and labelled `tab:<name>-<number>`."""
    lines = [f"% {titled(document.title, mark)}", r"% In the preamble: \usepackage{booktabs,graphicx}", ""]
    for number, section in enumerate(document.sections, start=1):
        what = f"{document.title}. {section.title}" if section.title else document.title
        table, size = _measures(section)
        lines += [
            rf"\begin{{{table}}}",
            rf"  \centering{size}",
            rf"  \caption{{{escaped(titled(what, mark))}}}",
            rf"  \label{{tab:{name}-{number}}}",
            _FIT,
            rf"  \begin{{tabular}}{{@{{}}{''.join(section.columns)}@{{}}}}",
            r"    \toprule",
            _tex_row(section.head),
            r"    \midrule",
        ]
        body = [_tex_row(row) for row in section.rows]
        if 0 < section.summary_rows < len(body):
            body.insert(-section.summary_rows, r"    \midrule")
        lines += [*body, r"    \bottomrule", r"  \end{tabular}}"]
        below = [rf"\textsuperscript{{{key}}}~{_prose(text)}" for key, text in section.notes.items()]
        below += [_prose(text) for text in (*section.remarks, *document.remarks)]
        if below:
            lines.append(r"  \par\medskip\raggedright\scriptsize")
            lines.append("  " + "\\\\\n  ".join(below))
        lines += [rf"\end{{{table}}}", ""]
    return "\n".join(lines).rstrip() + "\n"


def _measures(section: Section) -> tuple[str, str]:
    """The environment and the size that let a section fit, by the most characters of each column."""
    lines = [section.head, *section.rows]
    texts = [[_plain(line[place]) for line in lines] for place in range(len(section.columns))]
    # A paragraph column (p{…}) wraps.
    characters = sum(min(60, max(map(len, column))) for column in texts)
    fitting = (
        (environment, size, gap)
        for environment, size, gap, width, character in _SIZES
        if characters * character + 2 * gap * (len(texts) - 1) <= width
    )
    environment, size, gap = next(fitting, _SIZES[-1][:3])
    return environment, rf"{size}\setlength{{\tabcolsep}}{{{gap}pt}}"


def _plain(cell: Cell | str) -> str:
    return cell.text + cell.note if isinstance(cell, Cell) else cell


def _tex_row(cells: Iterable[Cell | str]) -> str:
    # The braces keep a cell that begins with [ from being read as an option of the line before.
    return "    " + " & ".join(_tex_cell(each) for each in cells) + r" \\"


def _tex_cell(cell: Cell | str) -> str:
    cell = cell if isinstance(cell, Cell) else Cell(cell)
    text = escaped(cell.text)
    text = rf"\textbf{{{text}}}" if cell.bold else text
    text = f"{{}}{text}" if text.startswith(("[", "*")) else text
    return rf"{text}\textsuperscript{{{cell.note}}}" if cell.note else text


def _prose(text: str) -> str:
    """Text with `code` between backticks; long paths may break after a slash or an underscore."""
    parts = [escaped(each) for each in text.split("`")]
    for place in range(1, len(parts), 2):
        code = re.sub(r"(/|,|\\_)", r"\1\\allowbreak{}", parts[place])
        parts[place] = rf"\texttt{{{code}}}"
    return "".join(parts)


def escaped(text: str) -> str:
    """Plain text as LaTeX prints it."""
    return "".join(_ESCAPES.get(character, character) for character in text)


def spread(values: pd.Series, decimals: int = 2) -> str:
    """Mean ± sample standard deviation; one value has no deviation, none is a dash."""
    values = values.dropna()
    if values.empty:
        return MISSING
    text = number(values.mean(), decimals)
    return f"{text} ± {values.std(ddof=1):.{decimals}f}" if len(values) > 1 else text


def number(value: float | None, decimals: int = 2, signed: bool = False) -> str:
    """A number with a minus that prints as one; None and NaN are a dash, and minus zero is zero."""
    if value is None or pd.isna(value):
        return MISSING
    text = f"{value:{'+' if signed else ''}.{decimals}f}"
    if not text.strip("+-0."):
        text = text.lstrip("+-")
    return text.replace("-", "−")


def probability(value: float | None) -> str:
    """A p-value to three digits, never as zero."""
    if value is None or pd.isna(value):
        return MISSING
    return "<0.001" if value < 0.001 else f"{value:.3f}"
