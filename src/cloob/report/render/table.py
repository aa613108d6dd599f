"""A table for reading, written as Markdown and as LaTeX (booktabs), beside the long CSV of its numbers."""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pandas as pd

from cloob.common.atomic_files import atomic_write
from cloob.report.load.results import write_table
from cloob.report.names import titled
from cloob.report.render.latex import escaped, escaped_cell, escaped_prose
from cloob.report.render.text import MOST, Prose, markdown_prose, markdown_text, printable

MISSING = "—"
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
    """One cell of plain text; `note` is the marker of a footnote of its section."""

    text: str
    bold: bool = False
    note: str = ""


@dataclass(frozen=True)
class Section:
    """One grid under a heading; all text is plain, escaped only where it is printed.

    `columns` are LaTeX's, one each (l, r, c, p{…}); a line sets `summary_rows` at the end apart.
    """

    title: str
    columns: Sequence[str]
    head: Sequence[str]
    rows: Sequence[Sequence[Cell | str]]
    notes: dict[str, Prose] = field(default_factory=dict)  # by marker
    summary_rows: int = 0
    remarks: Sequence[Prose] = ()


@dataclass(frozen=True)
class Document:
    """What one file of tables holds: sections, and remarks that hold for all of them."""

    title: str
    sections: Sequence[Section]
    remarks: Sequence[Prose] = ()


def write_document(document: Document, long: pd.DataFrame, mark: str, csv: Path) -> list[Path]:
    """Write `csv` from the long table, and the document beside it as .md and .tex; returns the three paths.

    `mark` (the config's label) joins every title: where the numbers come from.
    """
    markdown, tex = csv.with_suffix(".md"), csv.with_suffix(".tex")
    write_table(long, csv)
    for path, text in ((markdown, as_markdown(document, mark)), (tex, as_tex(document, mark, csv.stem))):
        with atomic_write(path) as beside:
            beside.write_text(text, encoding="utf-8", errors="backslashreplace")
    return [csv, markdown, tex]


def as_markdown(document: Document, mark: str) -> str:
    """The document in Markdown."""
    lines = [f"# {markdown_text(titled(document.title, mark))}", ""]
    for section in document.sections:
        lines += [f"## {markdown_text(section.title)}", ""] if section.title else []
        lines.append(_markdown_row(map(_markdown_cell, section.head)))
        lines.append(_markdown_row(["---:" if each == "r" else "---" for each in section.columns]))
        lines += [_markdown_row(map(_markdown_cell, row)) for row in section.rows]
        lines += ["", *(f"- [{marker}] {markdown_prose(text)}" for marker, text in section.notes.items())]
        remarks = [markdown_prose(remark) for remark in section.remarks]
        lines += ["", *remarks] if section.notes and remarks else remarks
        lines += [""] if section.notes or remarks else []
    return "\n".join([*lines, *map(markdown_prose, document.remarks)]).rstrip() + "\n"


def _markdown_row(cells: Iterable[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _markdown_cell(cell: Cell | str) -> str:
    cell = cell if isinstance(cell, Cell) else Cell(cell)
    text = markdown_text(cell.text)
    text = f"**{text}**" if cell.bold and text else text
    return f"{text} [{cell.note}]" if cell.note else text


def as_tex(document: Document, mark: str, name: str) -> str:
    """The document as LaTeX tables: one `table` per section, captioned and labeled `tab:<name>-<number>`."""
    name = re.sub(r"[^A-Za-z0-9_-]", "-", name)
    # Line breaks would end the comment.
    lines = [
        f"% {printable(titled(document.title, mark))}",
        r"% In the preamble: \usepackage{booktabs,graphicx}",
        "",
    ]
    for number, section in enumerate(document.sections, start=1):
        what = f"{document.title}. {section.title}" if section.title else document.title
        table, size = _measures(section)
        lines += [
            rf"\begin{{{table}}}",
            rf"  \centering{size}",
            rf"  \caption{{{escaped(printable(titled(what, mark), MOST))}}}",
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
        below = [rf"\textsuperscript{{{key}}}~{escaped_prose(text)}" for key, text in section.notes.items()]
        below += [escaped_prose(text) for text in (*section.remarks, *document.remarks)]
        if below := list(filter(None, below)):
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
    cell = cell if isinstance(cell, Cell) else Cell(cell)
    return printable(cell.text, MOST) + cell.note


def _tex_row(cells: Iterable[Cell | str]) -> str:
    return "    " + " & ".join(_tex_cell(each) for each in cells) + r" \\"


def _tex_cell(cell: Cell | str) -> str:
    cell = cell if isinstance(cell, Cell) else Cell(cell)
    text = escaped_cell(cell.text)
    text = rf"\textbf{{{text}}}" if cell.bold else text
    return rf"{text}\textsuperscript{{{cell.note}}}" if cell.note else text


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
