"""Tables as HTML: the text of the Markdown in a self-contained page, without active content."""

from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path

import pytest

from cloob.cli import main
from cloob.report.render.document import Cell, Document, Heading, Section, to_latex, to_markdown
from cloob.report.render.html import markdown_to_html
from cloob.report.render.text import Code

TABLE = """# Zero-shot accuracy (%) · toy dataset

| Test set | CLIP | CLOOB |
| --- | ---: | ---: |
| Birdsnap | 2.26 ± 0.20 | **3.06 ± 0.30** |
| ImageNet | — | 24.0 |

A note: 3 < 4 & "5".
"""


class Page(HTMLParser):
    """Tags and text of a page, which must not load anything."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags, self.words, self.attributes = [], [], []
        self.feed(page)

    def handle_starttag(self, tag: str, attributes: list) -> None:
        self.tags.append(tag)
        self.attributes.append(dict(attributes))
        assert not {"src", "href"} & {name for name, _ in attributes}, "a page must not load anything"

    def handle_data(self, data: str) -> None:
        self.words += data.split("\n")


@pytest.fixture
def convert(tmp_path: Path) -> Callable[[str], int]:
    """Convert Markdown with the command line; returns the exit status."""

    def write(text: str) -> int:
        (tmp_path / "table.md").write_text(text)
        command = ["report", "html", "--markdown", tmp_path / "table.md", "--html", tmp_path / "table.html"]
        with pytest.raises(SystemExit) as exit_info:
            main(list(map(str, command)))
        return exit_info.value.code

    return write


def test_page_has_the_table_and_its_remarks(convert: Callable[[str], int], tmp_path: Path) -> None:
    assert convert(TABLE) == 0
    page = Page((tmp_path / "table.html").read_text())
    assert page.tags.count("tr") == 3
    assert page.tags.count("td") == 6
    assert {"Birdsnap", "2.26\u00a0±\u00a00.20", "3.06\u00a0±\u00a00.30", "—", 'A note: 3 < 4 & "5".'} <= set(
        page.words
    )
    assert page.tags.count("strong") == 1
    assert "Zero-shot accuracy (%) · toy dataset" in page.words


def test_tags_in_a_table_are_shown_as_text() -> None:
    page = Page(markdown_to_html("| a |\n| --- |\n| <script>alert(1)</script> |\n"))
    assert "script" not in page.tags
    assert "<script>alert(1)</script>" in "".join(page.words)


def test_missing_table_is_an_error_that_names_it(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    with pytest.raises(SystemExit) as exit_info:
        main(["report", "html", "--markdown", str(tmp_path / "no.md"), "--html", str(tmp_path / "no.html")])
    assert exit_info.value.code == 2
    assert "no.md: not a readable table" in capsys.readouterr().err
    assert not (tmp_path / "no.html").exists()


def table_of(page: Page) -> dict:
    [table] = [
        attributes for tag, attributes in zip(page.tags, page.attributes, strict=True) if tag == "table"
    ]
    return table


def test_every_cell_has_the_name_of_its_column_for_narrow_windows() -> None:
    page = Page(markdown_to_html("| Test set | a < b |\n| --- | ---: |\n| GTSRB | 1.2 |\n| Mean | — |\n"))
    names = [attributes["data-column"] for attributes in page.attributes if "data-column" in attributes]
    assert names == ["Test set", "a < b"] * 2


def test_the_class_of_a_table_is_the_width_that_it_needs() -> None:
    def width(columns: int, cell: str) -> int:
        rows = ["| a " * columns + "|", "| ---: " * columns + "|", f"| {cell} " * columns + "|"]
        return int(table_of(Page(markdown_to_html("\n".join(rows))))["class"].removeprefix("fits-"))

    assert width(2, "1.2") < width(4, "1.23 ± 0.45") < width(8, "1.23 ± 0.45")
    # An interval is below its number if the table does not fit a desktop otherwise.
    assert width(4, "+1.1 [−1.2, +3.4]") == width(4, "+1.1 ± 1234567890") == 44
    assert width(6, "+1.1 [−1.2, +3.4]") < width(6, "+1.1 ± 1234567890")
    # Long words, such as paths, may break anywhere.
    assert width(2, "x" * 1000) == width(2, "x" * 50)


def test_numbers_are_not_broken_and_text_is_unchanged() -> None:
    rows = "| a | b |\n| --- | ---: |\n| 1.0 ± 0.1 | +1 [−1, +2] |\n| (1 to 2) | 1.5 (1 to 2) |\n"
    words = set(Page(markdown_to_html(rows)).words)
    assert {"1.0 ± 0.1", "(1 to 2)"} <= words
    assert {text.replace(" ", "\u00a0") for text in ("+1 [−1, +2]", "1.5 (1 to 2)")} <= words


def test_a_heading_is_one_heading_cell_across_the_table() -> None:
    rows = [
        Heading("Zero-shot <b> & probe"),
        ["supported", "1.0"],
        Heading("Retrieval"),
        [Cell("no", bold=True), "2"],
    ]
    markdown = to_markdown(Document("t", [Section("", "lr", ["Verdict", "Effect"], rows)]), "")
    assert "| **Zero-shot &lt;b> & probe** | |" in markdown
    page = Page(markdown_to_html(markdown))
    groups = [attributes for attributes in page.attributes if attributes.get("class") == "group"]
    assert [group["colspan"] for group in groups] == ["2", "2"]
    assert page.tags.count("td") == 4
    assert "Zero-shot <b> & probe" in "".join(page.words)


def test_the_summary_of_a_document_is_a_list_before_its_tables() -> None:
    summary = ["3 claims: 1 supported.", ("see ", Code("a_b"))]
    document = Document("t", [Section("", "l", ["x"], [["1"]])], summary=summary)
    text = to_markdown(document, "")
    assert text.startswith("# t\n\n- 3 claims: 1 supported.\n- see `a_b`\n\n| x |\n")
    assert to_latex(document, "", "t").startswith("% t\n% 3 claims: 1 supported.\n% see ")
