"""Open every page of a results folder at the widths of a laptop, a large screen and a phone."""

import json
import tempfile
from collections.abc import Iterator
from importlib.resources import files
from pathlib import Path

from cloob.common.errors import InputError
from cloob.report.check.browser import Browser

WIDTHS = {1280: 900, 1920: 1080, 390: 844}  # CSS pixels: width -> height
_PROBLEMS = files("cloob.report.check").joinpath("problems.js").read_text(encoding="utf-8")
_LOADED = "document.readyState === 'complete'"
_WHEN_LOADED = f"new Promise(done => {_LOADED} ? done() : addEventListener('load', () => done()))"
# Snakemake's report, unlike a page with a table, has a list of its results.
_IS_REPORT = "typeof categories === 'object' && typeof app === 'object'"
# The start page of Snakemake's report, and each table and figure by its category.
_START_PAGE = "!!document.querySelector('.prose h1, .prose p')"
_RULE_GRAPH = "!!document.querySelector('#rulegraph svg, #rulegraph canvas')"
_RESULTS = "Object.entries(categories).map(([category, parts]) => [category, Object.values(parts).flat()])"
_SHOW = """(() => {{
  const uri = results[{path}].data_uri;
  const content = uri.startsWith("data:text/html") ? "html" : "img";
  app.setView({{ content, contentPath: uri, resultPath: {path} }});
}})()"""
_SHOWN = "document.querySelector('.grow > iframe, .grow img')"


def check_results(results: Path) -> list[str]:
    """The problems of `report.html` and of the pages in `tables/`, a line each.

    Problems are content wider than the window or hidden behind a scroll bar, missing images, errors of
    scripts, and requests to the network. Raises `InputError` without a report or a browser.
    """
    report = results / "report.html"
    if not report.is_file():
        raise InputError(f"{report}: no such report; build it with `snakemake --report {report}`")
    found: dict[str, None] = {}
    with (
        tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile,
        Browser(Path(profile)) as browser,
    ):
        for width, height in WIDTHS.items():
            for page in [report, *sorted((results / "tables").glob("*.html"))]:
                browser.open(page, width, height)
                browser.wait_for(_LOADED)
                views = _report_views(browser) if browser.evaluate(_IS_REPORT) else iter([""])
                for view in views:
                    place = f"{page.relative_to(results)}{view}, {width} px"
                    found |= dict.fromkeys(f"{place}: {problem}" for problem in _problems(browser, width))
    return list(found)


def _report_views(browser: Browser) -> Iterator[str]:
    """Show the start page, and every table and figure of the report; yields the name of what is shown."""
    browser.wait_for(_START_PAGE)
    browser.wait_for(_RULE_GRAPH)
    yield ""
    for category, paths in browser.evaluate(_RESULTS):
        browser.evaluate(f"app.showCategory({json.dumps(category)})")
        for path in paths:
            browser.evaluate(_SHOW.format(path=json.dumps(path)))
            browser.wait_for(_SHOWN + " !== null")
            yield f" ({path})"


def _problems(browser: Browser, width: int) -> list[str]:
    problems = list(browser.evaluate(f"({_PROBLEMS})({width})"))
    for frame in browser.frames():
        problems += browser.evaluate_in_frame(frame, _WHEN_LOADED, f"({_PROBLEMS})(innerWidth)")
    problems += [f"error: {error}" for error in browser.errors]
    browser.errors.clear()
    return problems
