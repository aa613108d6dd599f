"""The whole pipeline on a tenth of the demo's world: real pages, real images, real training, real tables."""

import base64
import json
import socket

import pandas as pd
import pytest
import yaml

from tests.helpers.browser import CHROMIUM, Browser
from tests.helpers.repository import ROOT
from tests.helpers.tenth_of_demo import TITLE_SUFFIX, tenth_of

TESTSETS = 8
FIGURES = (
    *("zeroshot", "predictions", "effective_eigenvalues", "effective_eigenvalues_epochs", "ajne", "spectra"),
    *("similarities", "saturation", "training_curves", "throughput", "outcomes", "pipeline"),
)

pytestmark = [pytest.mark.timeout(900), pytest.mark.xdist_group("end_to_end")]


def free_port():
    with socket.socket() as asked:
        asked.bind(("127.0.0.1", 0))
        return asked.getsockname()[1]


@pytest.fixture(scope="module")
def pipeline(snakemake, awkward_checkout):
    """Everything made once; gives the results folder, the config's path, and a runner.

    The paths of checkout, config and results hold a blank, an apostrophe, an ampersand and non-ASCII.
    """
    results = awkward_checkout / "results of R&D's Zoë"
    demo = yaml.safe_load((ROOT / "config" / "demo.yaml").read_text())
    path = results.parent / "a tenth.yaml"
    path.write_text(yaml.safe_dump(tenth_of(demo, str(results), free_port())))

    def run(*arguments):
        return snakemake(
            *("--configfile", path, "--cores", 2, "--nolock", *arguments),
            before=("cloob", "toy-data", "serve", "--config", str(path), "--"),
            root=awkward_checkout,
        )

    done = run("all")
    assert done.returncode == 0, done.stdout[-5000:] + done.stderr[-5000:]
    return results, path, run


@pytest.fixture(scope="module")
def report(pipeline):
    """The report of what was made."""
    results, _, run = pipeline
    style = ROOT / "workflow" / "report" / "style.css"
    done = run("--report", results / "report.html", "--report-stylesheet", style)
    assert done.returncode == 0, done.stderr
    return results / "report.html"


def test_every_run_has_a_value_for_every_test_set(pipeline):
    results, _, _ = pipeline
    table = pd.read_csv(results / "tables" / "zeroshot.csv")
    expected = ["corpus", "architecture", "objective", "seed", "dataset", "metric", "value", "chance"]
    assert set(expected) <= set(table.columns)
    accuracy = table[(table.metric == "accuracy") & (table.statistic == "measured")]
    assert len(accuracy) == 3 * TESTSETS
    assert accuracy.value.between(0, 1).all()
    assert accuracy.groupby("corpus").objective.nunique().to_dict() == {"cc3m": 2, "yfcc15m": 1}


def test_the_books_balance(pipeline):
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
        mine = accounting[(accounting.corpus == corpus) & (accounting.split == split)]
        refused = mine[~mine.outcome.isin(["kept", "listed"])]
        assert shards["samples"] + refused.rows.sum() == rows
        assert shards["samples"] > 0.75 * rows
    assert {"http_404", "dns", "malformed_row", "duplicate_url"} <= set(accounting.outcome)


def test_hardly_a_picture_of_the_toy_dataset_is_taken_for_another(pipeline):
    results, _, _ = pipeline
    accounting = pd.read_csv(results / "tables" / "accounting.csv")
    assert accounting[accounting.outcome == "near_duplicate_of_validation"].rows.sum() <= 1
    overlap = pd.read_csv(results / "tables" / "overlap.csv")
    assert len(overlap) == 2 * TESTSETS
    assert overlap.compared.sum() > 0.95 * overlap.images.sum()
    assert overlap.overlapping.sum() <= 3


def test_the_loss_is_finite_and_falls(pipeline):
    results, _, _ = pipeline
    logs = sorted(results.glob("train/*/metrics.jsonl"))
    assert len(logs) == 3
    for log in logs:
        losses = [event["loss"] for event in map(json.loads, log.read_text().splitlines()) if "loss" in event]
        assert losses[-1] < losses[0]


def test_what_comes_out_says_which_world_it_is_from(pipeline):
    results, _, _ = pipeline
    tables = sorted((results / "tables").glob("*.csv"))
    expected = {"zeroshot", "linear_probe", "retrieval", "claims", "accounting", "overlap"}
    assert {path.stem for path in tables} >= expected
    for path in tables:
        assert TITLE_SUFFIX in path.with_suffix(".md").read_text().splitlines()[0]
        assert TITLE_SUFFIX in path.with_suffix(".tex").read_text().splitlines()[0]
    for stem in FIGURES:
        assert (results / "figures" / f"{stem}.png").read_bytes().startswith(b"\x89PNG")
        assert (results / "figures" / f"{stem}.pdf").read_bytes().startswith(b"%PDF")
        assert (results / "figures" / f"{stem}.svg").read_text().startswith("<?xml")
        assert (results / "figures" / f"{stem}.csv").stat().st_size


def test_a_second_run_finds_nothing_to_do(pipeline):
    _, _, run = pipeline
    again = run("all")
    assert again.returncode == 0
    assert "Nothing to be done" in again.stdout + again.stderr


def test_the_report_is_one_file_with_every_figure_and_table(report):
    page = report.read_text()
    tables = ("zeroshot", "linear_probe", "retrieval", "claims", "accounting", "overlap")
    for name in (*(f"{table}.html" for table in tables), *(f"{figure}.png" for figure in FIGURES)):
        assert name in page


@pytest.mark.browser
@pytest.mark.skipif(CHROMIUM is None, reason="no chromium here: `make browser` installs Debian's")
@pytest.mark.parametrize(("width", "height"), [(1280, 900), (390, 844)], ids=["desktop", "phone"])
def test_the_report_opens_in_a_browser_without_errors_or_network(report, tmp_path, width, height):
    with Browser(tmp_path / "profile") as browser:
        browser.open(report, width, height)
        browser.wait_for("!!document.querySelector('.prose table')")
        start = browser.ask("document.querySelector('.prose').innerText")
        assert "CLOOB, reproduced from nothing" in start
        assert TITLE_SUFFIX in start
        assert "ImageNet" in start  # the key table
        top = browser.ask("document.querySelector('.prose h1').getBoundingClientRect().top")
        assert 0 <= top < height
        browser.wait_for("!!document.querySelector('#rulegraph svg, #rulegraph canvas')")
        assert browser.ask("document.documentElement.scrollWidth <= innerWidth")

        browser.click("nav a", "Zero-shot")
        eyes = "[...document.querySelectorAll('nav tbody tr')].filter(row => row.innerText.match({}))[0]"
        figure, table = eyes.format("/zeroshot\\s+figure/"), eyes.format("/zeroshot\\s+table/")
        browser.wait_for(f"!!{figure}")
        browser.ask(f"{figure}.querySelector('a').click()")
        browser.wait_for("document.querySelector('.grow img')?.naturalWidth > 1000")
        browser.ask(f"{table}.querySelector('a').click()")
        page = browser.wait_for("document.querySelector('iframe')?.src")
        assert page.startswith("data:text/html")
        assert "Birdsnap" in base64.b64decode(page.partition("base64,")[2]).decode()
        assert browser.ask("document.documentElement.scrollWidth <= innerWidth")
        assert browser.errors == []


def test_nothing_half_written_is_left(pipeline):
    results, _, _ = pipeline
    assert [path for path in results.rglob(".*") if path.is_file() and "snakemake" not in path.name] == []
