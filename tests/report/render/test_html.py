"""Tables as HTML: the text of the Markdown in a self-contained page, without active content."""

from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path

import pytest

from cloob.cli import main
from cloob.report.render.html import markdown_to_html

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
        self.tags, self.words = [], []
        self.feed(page)

    def handle_starttag(self, tag: str, attributes: list) -> None:
        self.tags.append(tag)
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
    assert {"Birdsnap", "2.26 ± 0.20", "3.06 ± 0.30", "—", 'A note: 3 < 4 & "5".'} <= set(page.words)
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
