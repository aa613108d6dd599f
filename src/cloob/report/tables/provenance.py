"""Provenance of every run: commit, configuration, data, hardware, hours and restarts."""

import json

import pandas as pd

from cloob.common.errors import InputError
from cloob.report.load.inputs import Inputs
from cloob.report.load.logs import Log
from cloob.report.load.result_set import load_results
from cloob.report.registry import Entry
from cloob.report.render.document import Cell, Document, Section
from cloob.report.render.numbers import MISSING, footnote_mark, number
from cloob.report.render.text import Code, Prose
from cloob.report.tables.throughput import NO_LOG

TABLE = Entry(
    category="Training",
    help="commit, configuration, data and hardware of every run",
    caption="Commit, configuration, data and hardware of every run, its training hours and restarts.",
    inputs=("logs",),
)
_HEADER = ["Run", "Commit", "Config", "Data", "Pairs", "Hours in steps", "Hardware", "Restarts"]
_COLUMNS = [
    *("run", "commit", "config_sha256", "corpus_sha256", "urls_sha256"),
    *("pairs", "hours", "hardware", "restarts", "torch", "recipe"),
]
_REMARK = (
    "Config: SHA-256 of the run's identity, recipe and model. Data: SHA-256 of the content of the training "
    "shards. The CSV contains both hashes and the commit in full, and the recipe as it was trained. Hours "
    "exclude start-up and validation."
)


def build(inputs: Inputs) -> tuple[Document, pd.DataFrame]:
    """A row per run."""
    results = load_results(inputs)
    long = pd.DataFrame([_record(log) for log in results.logs], columns=_COLUMNS)
    lines: list[list[Cell | str]] = [
        [
            row.run,
            ", ".join(commit[:8] for commit in row.commit.split()),
            row.config_sha256[:8],
            row.corpus_sha256[:8],
            f"{row.pairs}",
            number(row.hours),
            row.hardware,
            f"{row.restarts}",
        ]
        for row in long.itertuples()
    ]
    footnotes: dict[str, Prose] = {}
    for path in results.missing[results.missing.protocol == "train"].path:
        mark = footnote_mark(len(footnotes))
        footnotes[mark] = (NO_LOG, Code(path))
        lines.append([Cell(path.parent.name, note=mark), *[MISSING] * (len(_HEADER) - 1)])
    section = Section("", "llllrrlr", _HEADER, lines, footnotes)
    return Document("Provenance of the runs", [section] if lines else [], [_REMARK]), long


def _record(log: Log) -> dict[str, object]:
    """The columns `_COLUMNS`. Raises `InputError` for a log that lacks one."""
    last = log.starts[-1]
    try:
        hardware = dict.fromkeys(f"{start['processes']} × {start['device']}" for start in log.starts)
        commits = dict.fromkeys(start["commit"] or "unknown" for start in log.starts)
        return {
            "run": log.run["name"],
            "commit": " ".join(commits),
            "config_sha256": log.config_sha256,
            "corpus_sha256": last["corpus_sha256"],
            "urls_sha256": last.get("urls_sha256") or "",
            "pairs": last["pairs"],
            "hours": log.hours,
            "hardware": "; ".join(hardware),
            "restarts": last["restarts"],
            "torch": last["torch"],
            "recipe": json.dumps(last["recipe"]),
        }
    except KeyError as error:
        raise InputError(f"{log.path}: its start event has no {error}; train the run again") from None
