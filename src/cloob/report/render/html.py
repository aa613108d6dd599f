"""Tables in the HTML report: their Markdown as a self-contained page that needs no horizontal scrolling."""

import re
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path
from xml.etree.ElementTree import Element, SubElement

from jinja2 import Environment, FileSystemLoader, StrictUndefined, Template
from markdown import Markdown
from markdown.treeprocessors import Treeprocessor

from cloob.common.atomic_files import atomic_write
from cloob.common.errors import InputError, raise_if_io_error

# Inline patterns that tables do not use; their characters are shown as text.
_DISABLED = (
    *("link", "image_link", "reference", "image_reference", "short_reference", "short_image_ref"),
    *("autolink", "automail", "html"),
)
# A table with less room than it needs becomes a list of rows, each a list of its cells. Widths in rem: the
# smallest one that a table fits is its class; no window is as wide as the last one.
_WIDTHS = (20, 26, 32, 38, 44, 50, 56, 62, 70, 80, 1000)
_CHARACTER = 0.56  # rem; a digit of the widest common sans-serif font at the size of tables
_PADDING = 0.8  # rem; of both sides of a cell
_SENTENCE = 36  # characters; longer texts are shown without the name of their column if rows are lists
_MIN_TEXT = 20  # characters that a column of texts should have in a line
_DESKTOP = 56.0  # rem; beside the menu of the report in a window of 1280 pixels
_LONG_WORD = 26  # characters; longer words may break anywhere


def convert_to_html(markdown_path: Path, html: Path) -> None:
    """Write the Markdown of a table as a self-contained HTML file. Raises `InputError`."""
    try:
        text = markdown_path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise_if_io_error(error, markdown_path)
        raise InputError(f"{markdown_path}: not a readable table ({error}); make it again") from None
    body = markdown_to_html(text)
    heading = re.sub(r"<[^>]*>", "", body.partition("\n")[0])
    page = _page().render(heading=heading, body=body, widths=_WIDTHS)
    with atomic_write(html) as temporary:
        temporary.write_text(page, encoding="utf-8", errors="backslashreplace")


def markdown_to_html(text: str) -> str:
    """Markdown with tables -> HTML without links, images, or HTML tags of the text itself."""
    converter = Markdown(extensions=["tables", "sane_lists"], output_format="html")
    for pattern in _DISABLED:
        converter.inlinePatterns.deregister(pattern)
    converter.parser.blockprocessors.deregister("reference")
    converter.preprocessors.deregister("html_block")
    # After the inline patterns (priority 20), before the prettifier (10).
    converter.treeprocessors.register(_Classes(converter), "classes", 15)
    return converter.convert(text)


@cache
def _page() -> Template:
    # The heading and the body are HTML, which `markdown_to_html` escaped.
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        undefined=StrictUndefined,
        autoescape=False,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    return environment.get_template("page.html.jinja")


class _Classes(Treeprocessor):
    """Give each table the class of its width, each cell the name of its column, and the summary its class."""

    def run(self, root: Element) -> None:
        if [element.tag for element in root[:2]] == ["h1", "ul"]:
            root[1].set("class", "summary")
        for table in root.iter("table"):
            header = [_text(cell) for cell in table.iter("th")]
            for cell in table.iter("th"):
                if _has_long_word(_text(cell)):
                    cell.set("class", "long")
            rows = [list(row) for row in table.iter("tr") if row.find("td") is not None]
            headings = [cells for cells in rows if _is_heading(cells)]
            rows = [cells for cells in rows if not _is_heading(cells)]
            for cells in rows:
                _mark_cells(cells, header)
            # A number and its interval share a line unless the table would be too wide.
            for text in (_keep_cells, _keep_numbers):
                width = _needed_width(header, rows, text)
                if width <= _DESKTOP:
                    break
            for cells in rows:
                _replace_spaces(cells, text)
            table.set("class", f"fits-{next((limit for limit in _WIDTHS if limit >= width), _WIDTHS[-1])}")
            for row in table.iter("tr"):
                if list(row) in headings:
                    _merge_cells(row)


def _text(element: Element) -> str:
    """The text of an element, in which Python-Markdown puts placeholders for escaped characters."""
    text = "".join(element.itertext())
    return re.sub("\x02(\\d+)\x03", lambda match: chr(int(match[1])), text).strip()


def _is_heading(cells: Sequence[Element]) -> bool:
    """Whether a row is a heading of the rows below it: a first cell in bold, and no other."""
    first, *others = cells
    if first.tag != "td" or len(first) != 1 or first[0].tag != "strong" or not others:
        return False
    outside = (first.text or "").strip() + (first[0].tail or "").strip()
    return not outside and not any(_text(cell) for cell in others)


def _mark_cells(cells: Sequence[Element], header: Sequence[str]) -> None:
    for cell, name in zip(cells, header, strict=True):
        text, classes = _text(cell), []
        if not _is_number(cell):
            classes += ["sentence"] if len(text) > _SENTENCE else []
            classes += ["short"] if len(text) <= _MIN_TEXT else []
        classes += ["long"] if _has_long_word(text) else []
        if classes:
            cell.set("class", " ".join(classes))
        cell.set("data-column", name)


def _has_long_word(text: str) -> bool:
    return any(len(word) > _LONG_WORD for word in text.split())


def _is_number(cell: Element) -> bool:
    return "right" in cell.get("style", "")


def _needed_width(
    header: Sequence[str], rows: Sequence[Sequence[Element]], keep_together: Callable[[str], str]
) -> float:
    """The width in rem that shows every column without breaking numbers or words."""
    width = 0.0
    for column, name in enumerate(header):
        texts = [_text(cells[column]) for cells in rows]
        pieces = [
            piece for text in [name, *texts] for piece in re.split(r"(?<=-)|[ \n]", keep_together(text))
        ]
        longest_piece = max((min(len(piece), _LONG_WORD) for piece in pieces), default=0)
        longest = max(
            (len(text) for text, cells in zip(texts, rows, strict=True) if not _is_number(cells[column])),
            default=0,
        )
        width += _PADDING + _CHARACTER * max(longest_piece, min(longest, _MIN_TEXT))
    return width


def _replace_spaces(cells: Sequence[Element], keep_together: Callable[[str], str]) -> None:
    for cell in filter(_is_number, cells):
        for element in cell.iter():
            element.text = keep_together(element.text or "")
            element.tail = keep_together(element.tail or "")


def _keep_numbers(text: str) -> str:
    """Non-breaking spaces within `1.5 ± 0.2`, `[−1.0, +2.0]`, `(1.0 to 2.0)` and `(+0.3, p 0.612)`."""
    text = re.sub(r"(?<=\d) ± (?=\d)", "\u00a0±\u00a0", text)
    return re.sub(r"[(\[][+−\d][^()\[\]]{1,24}[)\]]", lambda match: match[0].replace(" ", "\u00a0"), text)


def _keep_cells(text: str) -> str:
    """Non-breaking spaces also between a number and its interval: `+1.5 [−1.0, +4.0]`."""
    return re.sub(r"(?<=\d) (?=[(\[])", "\u00a0", _keep_numbers(text))


def _merge_cells(row: Element) -> None:
    """Replace the cells of a group heading by one that spans the table."""
    heading, columns = row[0][0], len(row)
    for cell in list(row):
        row.remove(cell)
    merged = SubElement(row, "th", {"colspan": str(columns), "class": "group", "scope": "colgroup"})
    merged.text = heading.text
    merged.extend(heading)
