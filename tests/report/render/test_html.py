"""A table's page: what stands in the Markdown, readable by itself, and nothing obeyed."""

from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path

import pytest

from cloob.cli import main
from cloob.report.render.html import html_of

TABLE = """# Zero-shot accuracy (%) · small world

| Test set | CLIP | CLOOB |
| --- | ---: | ---: |
| Birdsnap | 2.26 ± 0.20 | **3.06 ± 0.30** |
| ImageNet | — | 24.0 |

A note: 3 < 4 & "5".
"""


class Read(HTMLParser):
    """Tags and text of a page."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags, self.words = [], []
        self.feed(page)

    def handle_starttag(self, tag: str, attributes: list) -> None:
        self.tags.append(tag)
        assert not {"src", "href"} & {name for name, _ in attributes}, "a page needs nothing else"

    def handle_data(self, data: str) -> None:
        self.words += data.split("\n")


@pytest.fixture
def page(tmp_path: Path) -> Callable[[str], int]:
    def write(text: str) -> int:
        (tmp_path / "table.md").write_text(text)
        command = ["report", "html", "--markdown", tmp_path / "table.md", "--html", tmp_path / "table.html"]
        with pytest.raises(SystemExit) as end:
            main(list(map(str, command)))
        return end.value.code

    return write


def test_a_page_holds_the_table_and_its_notes(page: Callable[[str], int], tmp_path: Path) -> None:
    assert page(TABLE) == 0
    found = Read((tmp_path / "table.html").read_text())
    assert found.tags.count("tr") == 3
    assert found.tags.count("td") == 6
    assert {"Birdsnap", "2.26 ± 0.20", "3.06 ± 0.30", "—", 'A note: 3 < 4 & "5".'} <= set(found.words)
    assert found.tags.count("strong") == 1
    assert "Zero-shot accuracy (%) · small world" in found.words


def test_tags_in_a_table_are_shown_and_not_obeyed() -> None:
    found = Read(html_of("| a |\n| --- |\n| <script>alert(1)</script> |\n"))
    assert "script" not in found.tags
    assert "<script>alert(1)</script>" in "".join(found.words)


def test_a_missing_table_is_named(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    with pytest.raises(SystemExit) as end:
        main(["report", "html", "--markdown", str(tmp_path / "no.md"), "--html", str(tmp_path / "no.html")])
    assert end.value.code == 2
    assert "no.md: not a readable table" in capsys.readouterr().err
    assert not (tmp_path / "no.html").exists()
