"""The HTML report with markup in texts of the config: it is shown as text, and nothing uses the network."""

import json
from html import unescape

import pytest

from cloob.report.check.browser import CHROMIUM, Browser
from cloob.report.check.pages import check_results
from cloob.report.render.document import Cell, Document, Section, to_markdown
from cloob.report.render.html import convert_to_html
from tests.helpers.repository import ROOT
from tests.helpers.synthetic_results import write_synthetic_results

MARKUP = (
    "</script><script>document.title = 'taken'</script>",
    "<img src=http://evil.invalid/a.png onerror=document.title='taken'>",
    "<!-- <script> [x](javascript:alert(1)) ![x](http://evil.invalid/b.png) "
    "`http://evil.invalid/c <http://d>`_",
    "|raw| $x^2$ {{ 7 * 7 }} {% raw %} a_b RN50_ *c* **d** `e` ``f`` \\ \\input{g} &amp; 100% #1 "
    "http://evil.invalid",
    "line\n\n.. raw:: html\n\n   <b>directive</b>\n\n.. image:: http://evil.invalid/h.png",
)
TITLE_SUFFIX = " ".join(MARKUP)
SHOWN = " ".join(TITLE_SUFFIX.split())

pytestmark = pytest.mark.timeout(300)
needs_browser = pytest.mark.skipif(
    CHROMIUM is None, reason="no chromium here: `make browser` installs Debian's"
)


@pytest.fixture(scope="module")
def report(snakemake, tmp_path_factory):
    """A report with two tables, in which results are missing, and two figures."""
    folder = tmp_path_factory.mktemp("hostile")
    results = folder / "results"
    write_synthetic_results(results, objectives=("clip", "cloob"), seeds=(1, 2, 3), epochs=(31, 128))
    config = folder / "config.json"
    content = {"results": str(results), "allow_missing": True, "title_suffix": TITLE_SUFFIX}
    content["corpora"] = {"cc3m": {"title": TITLE_SUFFIX}}
    runs = {"corpus": "cc3m", "objectives": ["clip", "cloob"], "architectures": ["RN50"], "recipe": "cc3m"}
    content["runs"] = [runs | {"seeds": [1, 2, 3]}]
    config.write_text(json.dumps(content))
    targets = [results / "tables" / "zeroshot.html", results / "tables" / "claims.html"]
    targets += [results / "figures" / name for name in ("pipeline.png", "zeroshot.png")]
    made = snakemake("--cores", 2, "--nolock", *targets, "--configfile", config)
    assert made.returncode == 0, made.stdout + made.stderr
    path = results / "report.html"
    style = ["--report-stylesheet", ROOT / "workflow" / "report" / "style.css"]
    made = snakemake("--nolock", *targets, "--configfile", config, "--report", path, *style)
    assert made.returncode == 0, made.stdout + made.stderr
    return path


def test_the_title_suffix_passes_the_shell_unchanged(report):
    table = (report.parent / "tables" / "zeroshot.html").read_text()
    [heading] = [line for line in table.splitlines() if line.startswith("<h1>")]
    text = unescape(heading.removeprefix("<h1>").removesuffix("</h1>"))
    complete = f"Zero-shot accuracy (%) · {SHOWN}"
    assert text == complete[:299].rstrip() + "…"


def test_the_title_suffix_adds_no_tags_and_does_not_end_the_script_of_the_report(report):
    page = report.read_text()
    for markup in ("<img src=http://evil", "<b>directive", "</script><script>document", "<!-- <script>"):
        assert markup not in page


URLS = "[...document.querySelectorAll('[href], [src]')].map(node => node.href || node.src).filter(url => {})"


@pytest.mark.browser
@needs_browser
def test_a_browser_shows_the_title_suffix_as_text_and_requests_nothing(report, tmp_path):
    with Browser(tmp_path / "profile") as browser:
        browser.open(report, 1280, 900)
        browser.wait_for("!!document.querySelector('.prose table')")
        assert browser.evaluate("document.querySelector('.title-suffix').textContent") == SHOWN
        assert browser.evaluate("document.title") != "taken"
        injected = "document.querySelectorAll('.prose :is(img:not(.main-figure img), script, b)').length"
        assert browser.evaluate(injected) == 0
        external = URLS.format(
            "!url.startsWith('data:image') && (url.includes('evil') || url.includes('alert('))"
        )
        assert browser.evaluate(external) == []
        browser.click("nav a", "Pipeline")
        browser.wait_for("[...document.querySelectorAll('nav tbody tr')].length > 0")
        browser.evaluate("document.querySelectorAll('nav tbody tr a')[0].click()")
        browser.wait_for("document.querySelector('.grow img')?.naturalWidth > 100")
        assert browser.evaluate(external) == []
        assert browser.errors == []


@pytest.mark.browser
@needs_browser
def test_the_start_page_says_what_was_found_shows_the_main_figure_and_then_the_tables(report, tmp_path):
    with Browser(tmp_path / "profile") as browser:
        browser.open(report, 1280, 900)
        browser.wait_for("document.querySelector('.main-figure img')?.naturalWidth > 500")
        lines = browser.evaluate("[...document.querySelectorAll('.summary li')].map(line => line.innerText)")
        *sections, supported, contradicted = lines
        assert len(sections) == 2  # epochs 31 and 128
        assert all("CLOOB − CLIP, mean zero-shot accuracy: " in line for line in sections)
        assert supported.startswith("Supported: ")
        assert contradicted == "Contradicted: none."
        places = (".summary", ".main-figure img", ".prose table")
        tops = [f"document.querySelector({place!r}).getBoundingClientRect().top" for place in places]
        assert browser.evaluate(f"[{', '.join(tops)}].every((top, i, all) => !i || top > all[i - 1])")


@pytest.mark.browser
@needs_browser
def test_the_report_has_no_problems_in_any_window(report):
    assert check_results(report.parent) == []


@pytest.mark.browser
@needs_browser
def test_a_browser_shows_the_cells_of_a_table_as_text(tmp_path):
    rows = [[text, Cell(text, True, "a")] for text in MARKUP]
    section = Section(MARKUP[0], "lr", ["x", MARKUP[1]], rows)
    document = Document("Names", [section], [(TITLE_SUFFIX,)])
    markdown, page = tmp_path / "t.md", tmp_path / "t.html"
    markdown.write_text(to_markdown(document, TITLE_SUFFIX), encoding="utf-8")
    convert_to_html(markdown, page)
    with Browser(tmp_path / "profile") as browser:
        browser.open(page, 1280, 900)
        browser.wait_for("!!document.querySelector('td')")
        cells = browser.evaluate("[...document.querySelectorAll('td')].map(cell => cell.textContent)")
        assert cells[::2] == [" ".join(text.split()) for text in MARKUP]
        assert browser.evaluate(URLS.format("true")) == []
        assert browser.evaluate("document.querySelectorAll('img, script, a, iframe').length") == 0
        assert browser.evaluate("document.querySelectorAll('tr').length") == 1 + len(MARKUP)
        assert browser.errors == []
