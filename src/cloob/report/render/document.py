"""Formatted tables, rendered as Markdown and LaTeX (booktabs) with Jinja templates, beside a long CSV."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

import pandas as pd
from jinja2 import Environment, FileSystemLoader, StrictUndefined, Template

from cloob.common.atomic_files import atomic_write
from cloob.report.load.long_table import write_csv
from cloob.report.names import with_suffix
from cloob.report.render.latex import latex_cell, latex_prose, latex_text
from cloob.report.render.markdown import markdown_prose, markdown_text
from cloob.report.render.text import MAX_LENGTH, Prose, printable

# Sections with more columns than this span both columns of a two-column page.
_MAX_NARROW_COLUMNS = 5


@dataclass(frozen=True)
class Cell:
    """A table cell of plain text; `note` is the mark of a footnote of its section."""

    text: str
    bold: bool = False
    note: str = ""


@dataclass(frozen=True)
class Heading:
    """A row of a section that is the heading of the rows below it, across all columns."""

    text: str


@dataclass(frozen=True)
class Section:
    """A table under a heading. All text is plain; the templates escape it.

    `columns` has a LaTeX column type per column (l, r, c, p{…}). The last `summary_rows` rows are separated
    by a rule.
    """

    title: str
    columns: Sequence[str]
    header: Sequence[str]
    rows: Sequence[Sequence[Cell | str] | Heading]
    footnotes: dict[str, Prose] = field(default_factory=dict)  # by mark
    summary_rows: int = 0
    remarks: Sequence[Prose] = ()

    @property
    def first_summary_row(self) -> int:
        """The index of the first summary row; 0 if no rule is needed."""
        return len(self.rows) - self.summary_rows if self.summary_rows else 0

    @property
    def environment(self) -> str:
        """The LaTeX environment: `table*` spans both columns of a page."""
        return "table*" if len(self.columns) > _MAX_NARROW_COLUMNS else "table"


@dataclass(frozen=True)
class Document:
    """The sections of one table file, what they show in a few lines, and remarks on all of them."""

    title: str
    sections: Sequence[Section]
    remarks: Sequence[Prose] = ()
    summary: Sequence[Prose] = ()


def write_document(document: Document, long: pd.DataFrame, title_suffix: str, csv: Path) -> list[Path]:
    """Write `csv` from the long table and the document beside it as .md and .tex; returns the three paths."""
    markdown, tex = csv.with_suffix(".md"), csv.with_suffix(".tex")
    write_csv(long, csv)
    texts = {markdown: to_markdown(document, title_suffix), tex: to_latex(document, title_suffix, csv.stem)}
    for path, text in texts.items():
        with atomic_write(path) as temporary:
            temporary.write_text(text, encoding="utf-8", errors="backslashreplace")
    return [csv, markdown, tex]


def to_markdown(document: Document, title_suffix: str) -> str:
    """The document in Markdown."""
    text = _template("table.md.jinja").render(document=document, suffix=title_suffix)
    return re.sub(r"\n{3,}", "\n\n", text).rstrip() + "\n"


def to_latex(document: Document, title_suffix: str, name: str) -> str:
    """The document in LaTeX: a `table` per section, labeled `tab:<name>-<number>`."""
    name = re.sub(r"[^A-Za-z0-9_-]", "-", name)
    return _template("table.tex.jinja").render(document=document, suffix=title_suffix, name=name)


@cache
def _template(name: str) -> Template:
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        undefined=StrictUndefined,
        autoescape=False,  # the filters escape for Markdown and LaTeX
        trim_blocks=True,
        lstrip_blocks=True,
        # Braces and per cent signs are common in LaTeX.
        block_start_string="<%",
        block_end_string="%>",
        variable_start_string="<<",
        variable_end_string=">>",
        comment_start_string="<#",
        comment_end_string="#>",
    )
    environment.filters |= {
        "markdown": markdown_text,
        "markdown_prose": markdown_prose,
        "latex": latex_text,
        "latex_cell": latex_cell,
        "latex_prose": latex_prose,
        "one_line": printable,
        "truncated": lambda text: printable(text, MAX_LENGTH),
        "with_suffix": with_suffix,
    }
    environment.tests["cell"] = lambda value: isinstance(value, Cell)
    environment.tests["heading"] = lambda value: isinstance(value, Heading)
    return environment.get_template(name)
