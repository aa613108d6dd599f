"""The whole pipeline on a tenth of the demo's toy dataset, from its URL lists to the HTML report."""

import base64
import json
import sys

import pandas as pd
import pytest
import yaml

from cloob.report.check.browser import CHROMIUM, Browser
from cloob.report.check.pages import check_results
from cloob.report.registry import figures, tables
from tests.helpers.fork_server import forking_python
from tests.helpers.repository import ROOT
from tests.helpers.tenth_of_demo import TITLE_SUFFIX, free_port, tenth_of, with_search

TESTSETS = 8

pytestmark = [pytest.mark.timeout(900), pytest.mark.xdist_group("end_to_end")]


def table_names():
    """The tables of the target `all`."""
    return {name for name, entry in tables().items() if entry.requires != "released"}


@pytest.fixture(scope="module")
def programs(tmp_path_factory):
    """A folder for PATH with a `python -m cloob` that starts fast."""
    with forking_python(tmp_path_factory.mktemp("programs")) as folder:
        yield folder


@pytest.fixture(scope="module")
def pipeline(snakemake, awkward_checkout, programs):
    """Run `all` once; returns the output folder, the config's path, and a function that runs snakemake.

    The paths of checkout, config and output folder contain spaces, an apostrophe, an ampersand and
    non-ASCII characters. torchrun starts the processes of training as usual; those of the jobs are forks.
    """
    results = awkward_checkout / "results of R&D's Zoë"
    demo = yaml.safe_load((ROOT / "config" / "demo.yaml").read_text())
    path = results.parent / "a tenth.yaml"
    path.write_text(yaml.safe_dump(with_search(tenth_of(demo, str(results), free_port()))))

    def run(*arguments):
        return snakemake(
            *("--configfile", path, "--cores", 2, "--nolock", *arguments),
            before=(sys.executable, "-m", "cloob", "toy-data", "serve", "--config", str(path), "--"),
            programs=[programs],
            root=awkward_checkout,
        )

    done = run("all")
    assert done.returncode == 0, done.stdout[-5000:] + done.stderr[-5000:]
    return results, path, run


@pytest.fixture(scope="module")
def report(pipeline):
    """The HTML report of the results."""
    results, _, run = pipeline
    style = ROOT / "workflow" / "report" / "style.css"
    done = run("--report", results / "report.html", "--report-stylesheet", style)
    assert done.returncode == 0, done.stderr
    return results / "report.html"


def test_every_run_has_an_accuracy_on_every_test_set(pipeline):
    results, _, _ = pipeline
    table = pd.read_csv(results / "tables" / "zeroshot.csv")
    expected = ["corpus", "architecture", "objective", "seed", "dataset", "metric", "value", "chance"]
    assert set(expected) <= set(table.columns)
    accuracy = table[(table.metric == "accuracy") & (table.statistic == "measured")]
    assert len(accuracy) == 3 * TESTSETS
    assert accuracy.value.between(0, 1).all()
    assert accuracy.groupby("corpus").objective.nunique().to_dict() == {"cc3m": 2, "yfcc15m": 1}


def test_every_row_of_every_url_list_is_kept_or_rejected_with_a_reason(pipeline):
    results, _, _ = pipeline
    accounting = pd.read_csv(results / "tables" / "accounting.csv")
    config = yaml.safe_load(pipeline[1].read_text())
    listed = {
        ("cc3m", "train"): config["toy_data"]["cc3m_train"],
        ("cc3m", "validation"): config["toy_data"]["cc3m_validation"],
        ("yfcc15m", "train"): config["toy_data"]["yfcc15m"],
    }
    for (corpus, split), rows in listed.items():
        shards = json.loads((results / "shards" / corpus / split / "shards.json").read_text())
        of_split = accounting[(accounting.corpus == corpus) & (accounting.split == split)]
        rejected = of_split[~of_split.outcome.isin(["kept", "listed"])]
        assert shards["samples"] + rejected.rows.sum() == rows
        assert shards["samples"] > 0.75 * rows
    assert {"http_404", "dns", "malformed_row", "duplicate_url"} <= set(accounting.outcome)


def test_hardly_any_image_of_the_toy_dataset_is_a_near_duplicate_of_another(pipeline):
    results, _, _ = pipeline
    accounting = pd.read_csv(results / "tables" / "accounting.csv")
    assert accounting[accounting.outcome == "near_duplicate_of_validation"].rows.sum() <= 1
    overlap = pd.read_csv(results / "tables" / "overlap.csv")
    # Every run on every test set: the numbers of its corpus, and the accuracies with and without its images.
    assert overlap.groupby(["corpus", "dataset"]).ngroups == 2 * TESTSETS
    assert overlap.accuracy.notna().all() and (overlap.overlapping <= 3).all()
    unaffected = overlap[overlap.overlapping == 0]
    assert (unaffected.accuracy == unaffected.accuracy_clean).all()
    overlap = overlap.drop_duplicates(["corpus", "dataset"])
    assert overlap.compared.sum() > 0.95 * overlap.images.sum()
    assert overlap.overlapping.sum() <= 3


def test_runs_are_trained_with_the_recipes_that_the_search_chose(pipeline):
    results, _, _ = pipeline
    table = pd.read_csv(results / "tables" / "search.csv")
    assert table.groupby("objective").size().to_dict() == {"clip": 2, "cloob": 2}
    assert table[table.diverged].setting.tolist() == ["learning_rate 1e+30"]
    assert not list(results.glob("tune/*/*/*/*.pt"))
    for objective in ("clip", "cloob"):
        chosen = json.loads((results / "tune" / "tiny" / f"{objective}.json").read_text())["recipe"]
        log = results / "train" / f"cc3m-{objective}-RN_small-cc3m_small@tiny-seed1" / "metrics.jsonl"
        recipe = json.loads(log.read_text().splitlines()[0])["recipe"]
        assert recipe["learning_rate"] == chosen["learning_rate"] and recipe["epochs"] == 2


def test_the_loss_is_finite_and_decreases(pipeline):
    results, _, _ = pipeline
    logs = sorted(results.glob("train/*/metrics.jsonl"))
    assert len(logs) == 3
    for log in logs:
        losses = [event["loss"] for event in map(json.loads, log.read_text().splitlines()) if "loss" in event]
        assert losses[-1] < losses[0]


def test_every_table_and_figure_is_written_and_tables_carry_the_title_suffix(pipeline):
    results, _, _ = pipeline
    paths = sorted((results / "tables").glob("*.csv"))
    assert {path.stem for path in paths} == table_names()
    for path in paths:
        assert TITLE_SUFFIX in path.with_suffix(".md").read_text().splitlines()[0]
        assert TITLE_SUFFIX in path.with_suffix(".tex").read_text().splitlines()[0]
    for stem in figures():
        assert (results / "figures" / f"{stem}.png").read_bytes().startswith(b"\x89PNG")
        assert (results / "figures" / f"{stem}.pdf").read_bytes().startswith(b"%PDF")
        assert (results / "figures" / f"{stem}.svg").read_text().startswith("<?xml")
        assert (results / "figures" / f"{stem}.csv").stat().st_size


def test_a_second_run_has_nothing_to_do(pipeline):
    _, _, run = pipeline
    again = run("all")
    assert again.returncode == 0
    assert "Nothing to be done" in again.stdout + again.stderr


def test_the_report_is_one_file_with_every_table_and_figure(report):
    page = report.read_text()
    for name in (*(f"{table}.html" for table in table_names()), *(f"{figure}.png" for figure in figures())):
        assert name in page


@pytest.mark.browser
@pytest.mark.skipif(CHROMIUM is None, reason="no chromium here: `make browser` installs Debian's")
@pytest.mark.parametrize(("width", "height"), [(1280, 900), (390, 844)], ids=["desktop", "phone"])
def test_the_report_opens_in_a_browser_without_errors_or_network(report, tmp_path, width, height):
    with Browser(tmp_path / "profile") as browser:
        browser.open(report, width, height)
        browser.wait_for("!!document.querySelector('.prose table')")
        start = browser.evaluate("document.querySelector('.prose').innerText")
        assert "CLOOB, reproduced from scratch" in start
        assert TITLE_SUFFIX in start
        assert "ImageNet" in start  # the key table
        top = browser.evaluate("document.querySelector('.prose h1').getBoundingClientRect().top")
        assert 0 <= top < height
        left = "document.querySelector('.prose h1').getBoundingClientRect().left"
        if width > 700:  # next to the menu, not below it
            assert browser.evaluate(f"{left} >= document.querySelector('nav').getBoundingClientRect().right")
        browser.wait_for("!!document.querySelector('#rulegraph svg, #rulegraph canvas')")
        assert browser.evaluate("document.documentElement.scrollWidth <= innerWidth")

        browser.click("nav a", "Zero-shot")
        link = "[...document.querySelectorAll('nav tbody tr')].filter(row => row.innerText.match({}))[0]"
        figure, table = link.format("/zeroshot\\s+figure/"), link.format("/zeroshot\\s+table/")
        browser.wait_for(f"!!{figure}")
        browser.evaluate(f"{figure}.querySelector('a').click()")
        browser.wait_for("document.querySelector('.grow img')?.naturalWidth > 1000")
        browser.evaluate(f"{table}.querySelector('a').click()")
        page = browser.wait_for("document.querySelector('iframe')?.src")
        assert page.startswith("data:text/html")
        assert "Birdsnap" in base64.b64decode(page.partition("base64,")[2]).decode()
        assert browser.evaluate("document.documentElement.scrollWidth <= innerWidth")
        assert browser.errors == []


@pytest.mark.browser
@pytest.mark.skipif(CHROMIUM is None, reason="no chromium here: `make browser` installs Debian's")
def test_every_table_and_figure_of_the_report_fits_a_laptop_a_large_screen_and_a_phone(report):
    assert check_results(report.parent) == []


def test_no_temporary_file_is_left(pipeline):
    results, _, _ = pipeline
    assert [path for path in results.rglob(".*") if path.is_file() and "snakemake" not in path.name] == []
