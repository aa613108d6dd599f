"""The check of the report in a browser: what it must find, and what it must not."""

from collections.abc import Callable
from pathlib import Path

import pytest

from cloob.cli import main
from cloob.common.errors import InputError
from cloob.report.check import browser, pages
from cloob.report.render.document import Cell, Document, Heading, Section, to_markdown
from cloob.report.render.html import convert_to_html

needs_browser = pytest.mark.skipif(
    browser.CHROMIUM is None, reason="no chromium here: `make browser` installs Debian's"
)
pytestmark = pytest.mark.timeout(120)
PAGE = '<!doctype html><meta name="viewport" content="width=device-width, initial-scale=1">{}'
PIXEL = "data:image/gif;base64,R0lGODlhAQABAIAAAAAAAP///yH5BAEAAAAALAAAAAABAAEAAAIBRAA7"
FITS = f'<p>text</p><img src="{PIXEL}"><div style="width: 1px; overflow: hidden">for screen readers</div>'


@pytest.fixture
def check(tmp_path: Path) -> Callable[..., list[str]]:
    """Check a results folder with this report and these pages of tables."""

    def run(report: str = FITS, **tables: str) -> list[str]:
        (tmp_path / "tables").mkdir()
        (tmp_path / "report.html").write_text(PAGE.format(report))
        for name, page in tables.items():
            (tmp_path / "tables" / f"{name}.html").write_text(PAGE.format(page))
        return pages.check_results(tmp_path)

    return run


@pytest.mark.browser
@needs_browser
def test_pages_that_fit_have_no_problems(check: Callable) -> None:
    assert check(FITS, wrapped=f"<p>{'word ' * 1000}</p>") == []


@pytest.mark.browser
@needs_browser
def test_each_problem_is_found_at_the_widths_where_it_exists(check: Callable) -> None:
    found = check(
        FITS,
        wide="<p style='width: 1500px'>wide</p>",
        scrolls="<div style='overflow-x: auto'><p style='width: 600px'>hidden by a scroll bar</p></div>",
        cut="<div style='overflow: hidden; width: 50px'><p style='width: 60px'>cut off</p></div>",
        image="<img alt='Figure 1' src='missing.png'>",
        script="<script>console.error('broken')</script>",
        network="<script src='http://evil.invalid/a.js'></script>",
        frame="<iframe srcdoc=\"<img alt='Figure 2' src='data:image/png;base64,AAAA'>\"></iframe>",
    )
    by_page: dict[str, list[str]] = {}
    for problem in found:
        page, _, text = problem.partition(", ")
        by_page.setdefault(page, []).append(text)
    assert set(by_page) == {
        f"tables/{name}.html" for name in ("wide", "scrolls", "cut", "image", "script", "network", "frame")
    }
    wide = by_page["tables/wide.html"]
    assert [text.split(" px")[0] for text in wide] == ["1280", "390"]
    assert all("pixels wide" in text for text in wide)
    [scrolls] = by_page["tables/scrolls.html"]
    assert scrolls.startswith("390 px: 600 pixels in ")
    assert 'div "hidden by a scroll bar"' in scrolls
    assert len([text for text in by_page["tables/cut.html"] if "60 pixels in 50" in text]) == len(
        pages.WIDTHS
    )
    assert any(text == "390 px: missing image Figure 1" for text in by_page["tables/image.html"])
    assert any("broken" in text for text in by_page["tables/script.html"])
    assert any("requests http://evil.invalid" in text for text in by_page["tables/network.html"])
    assert any("missing image Figure 2" in text for text in by_page["tables/frame.html"])


@pytest.mark.browser
@needs_browser
def test_tables_fit_every_window_whatever_they_contain(check: Callable, tmp_path: Path) -> None:
    """Many columns, long sentences, long words, groups, footnotes with paths."""
    sentence = "With InfoLOOB, Hopfield retrieval increases the number of effective eigenvalues of the images"
    sections = []
    for columns in (1, 2, 3, 5, 8, 13, 21):
        numbers = ["−11.23 to +10.45", "20.33 ± 0.28 (+0.07 out)"] * columns
        rows = [
            Heading(f"A group of {columns} {'w' * 200}"),
            ["not enough runs", *numbers[: columns - 1]],
            [sentence, *[Cell(text, True, "a") for text in numbers[: columns - 1]]],
            ["x" * 300, *["y" * 300] * (columns - 1)],
        ]
        header = ["Verdict", *["published (difference)"] * (columns - 1)]
        path = ("build ", "/".join(["results"] * 60), " and ", "r" * 400)
        alignment = "l" + "r" * (columns - 1)
        sections.append(Section(sentence * 3, alignment, header, rows, {"a": path}, remarks=["z" * 300]))
    markdown = tmp_path / "long.md"
    markdown.write_text(to_markdown(Document("w" * 200, sections, summary=["s" * 500]), "toy " * 60))
    convert_to_html(markdown, tmp_path / "long.html")
    assert check(FITS, long=(tmp_path / "long.html").read_text()) == []


def test_without_a_report_the_error_says_how_to_build_it(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"report\.html: no such report; build it with `snakemake --report"):
        pages.check_results(tmp_path)


def test_without_a_browser_one_line_says_how_to_get_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    (tmp_path / "report.html").write_text("")
    monkeypatch.setattr(browser, "CHROMIUM", None)
    with pytest.raises(SystemExit) as exit_info:
        main(["report", "check", str(tmp_path)])
    assert exit_info.value.code == 2
    [line] = capsys.readouterr().err.splitlines()
    assert "`make browser` or `apt-get install chromium`" in line


@pytest.mark.browser
@needs_browser
def test_the_command_lists_the_problems_and_fails(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    (tmp_path / "report.html").write_text(PAGE.format("<p style='width: 400px'>wide</p>"))
    with pytest.raises(SystemExit) as exit_info:
        main(["report", "check", str(tmp_path)])
    assert exit_info.value.code == 1
    problem, total = capsys.readouterr().out.splitlines()
    assert problem.startswith("report.html, 390 px: the page is ")
    assert total.startswith("1 problem in the report of ")
