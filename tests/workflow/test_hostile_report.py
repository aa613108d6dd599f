"""The HTML report with a label that is markup in every language: text, and nothing leaves the page."""

import json
from html import unescape

import pytest

from cloob.report.render.document import Cell, Document, Section, to_markdown
from cloob.report.render.html import convert_to_html
from tests.helpers.browser import CHROMIUM, Browser

MARKS = (
    "</script><script>document.title = 'taken'</script>",
    "<img src=http://evil.invalid/a.png onerror=document.title='taken'>",
    "<!-- <script> [x](javascript:alert(1)) ![x](http://evil.invalid/b.png) `http://evil.invalid/c <http://d>`_",
    "|raw| $x^2$ {{ 7 * 7 }} {% raw %} a_b RN50_ *c* **d** `e` ``f`` \\ \\input{g} &amp; 100% #1 http://evil.invalid",
    "line\n\n.. raw:: html\n\n   <b>directive</b>\n\n.. image:: http://evil.invalid/h.png",
)
TITLE_SUFFIX = " ".join(MARKS)
SHOWN = " ".join(TITLE_SUFFIX.split())

pytestmark = pytest.mark.timeout(300)


@pytest.fixture(scope="module")
def report(snakemake, tmp_path_factory):
    """A report with two tables of nothing and a figure."""
    folder = tmp_path_factory.mktemp("hostile")
    results = folder / "results"
    config = folder / "config.json"
    config.write_text(json.dumps({"results": str(results), "partial": True, "label": TITLE_SUFFIX}))
    targets = [results / "tables" / "zeroshot.html", results / "tables" / "claims.html"]
    targets.append(results / "figures" / "pipeline.png")
    made = snakemake("--cores", 2, "--nolock", *targets, "--configfile", config)
    assert made.returncode == 0, made.stdout + made.stderr
    path = folder / "report.html"
    made = snakemake("--nolock", *targets, "--configfile", config, "--report", path)
    assert made.returncode == 0, made.stdout + made.stderr
    return path


def test_the_label_comes_through_the_shell_as_it_is(report):
    table = (report.parent / "results" / "tables" / "zeroshot.html").read_text()
    [heading] = [line for line in table.splitlines() if line.startswith("<h1>")]
    text = unescape(heading.removeprefix("<h1>").removesuffix("</h1>"))
    whole = f"Zero-shot accuracy (%) · {SHOWN}"
    assert text == whole[:299].rstrip() + "…"


def test_nothing_of_the_label_is_a_tag_or_ends_the_script_of_the_report(report):
    page = report.read_text()
    for markup in ("<img src=http://evil", "<b>directive", "</script><script>document", "<!-- <script>"):
        assert markup not in page


OUTSIDE = (
    "[...document.querySelectorAll('[href], [src]')].map(each => each.href || each.src).filter(each => {})"
)


@pytest.mark.browser
@pytest.mark.skipif(CHROMIUM is None, reason="no chromium here: `make browser` installs Debian's")
def test_a_browser_shows_it_as_text_and_asks_the_network_for_nothing(report, tmp_path):
    with Browser(tmp_path / "profile") as browser:
        browser.open(report, 1280, 900)
        browser.wait_for("!!document.querySelector('.prose table')")
        assert browser.ask("document.querySelector('.mark').textContent") == SHOWN
        assert browser.ask("document.title") != "taken"
        assert browser.ask("document.querySelectorAll('.prose img, .prose script, .prose b').length") == 0
        outside = OUTSIDE.format("each.includes('evil') || each.includes('alert(')")
        assert browser.ask(outside) == []
        browser.click("nav a", "Pipeline")
        browser.wait_for("[...document.querySelectorAll('nav tbody tr')].length > 0")
        browser.ask("document.querySelectorAll('nav tbody tr a')[0].click()")
        browser.wait_for("document.querySelector('.grow img')?.naturalWidth > 100")
        assert browser.ask(outside) == []
        assert browser.errors == []


@pytest.mark.browser
@pytest.mark.skipif(CHROMIUM is None, reason="no chromium here: `make browser` installs Debian's")
def test_a_browser_shows_the_cells_of_a_table_as_text(tmp_path):
    section = Section(MARKS[0], "lr", ["x", MARKS[1]], [[each, Cell(each, True, "a")] for each in MARKS])
    document = Document("Names", [section], [(TITLE_SUFFIX,)])
    markdown, page = tmp_path / "t.md", tmp_path / "t.html"
    markdown.write_text(to_markdown(document, TITLE_SUFFIX), encoding="utf-8")
    convert_to_html(markdown, page)
    with Browser(tmp_path / "profile") as browser:
        browser.open(page, 1280, 900)
        browser.wait_for("!!document.querySelector('td')")
        cells = browser.ask("[...document.querySelectorAll('td')].map(each => each.textContent)")
        assert cells[::2] == [" ".join(each.split()) for each in MARKS]
        assert browser.ask(OUTSIDE.format("true")) == []
        assert browser.ask("document.querySelectorAll('img, script, a, iframe').length") == 0
        assert browser.ask("document.querySelectorAll('tr').length") == 1 + len(MARKS)
        assert browser.errors == []
