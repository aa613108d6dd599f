"""Training throughput of each kind of run, by hardware."""

from typing import Any

import pandas as pd

from cloob.report.load.inputs import Inputs
from cloob.report.load.logs import Log
from cloob.report.load.result_set import ResultSet, load_results
from cloob.report.load.targets import brace_paths
from cloob.report.names import OBJECTIVE_TITLES, Labels
from cloob.report.registry import Entry
from cloob.report.render.document import Cell, Document, Section
from cloob.report.render.numbers import MISSING, footnote_mark, mean_std
from cloob.report.render.text import Prose, code_list
from cloob.report.stats.throughput import throughput

TABLE = Entry(
    category="Training",
    help="training throughput by hardware",
    caption="Training throughput of each kind of run, by hardware, and the percentage of the time spent "
    "waiting for data.",
    inputs=("logs",),
)
NO_LOG = "no log yet; build "
# Metric -> header, decimals.
_METRICS = {
    "pairs_per_second": ("Pairs/s", 1),
    "pairs_per_second_and_process": ("per process", 1),
    "step_seconds": ("Step (s)", 3),
    "waiting_for_data_pct": ("Waiting (%)", 1),
    "hours": ("Hours in steps", 2),
}
_KIND = ["corpus", "architecture", "objective", "recipe"]
_GROUP = [*_KIND, "processes", "device"]
_REMARK = (
    "Medians over the steps of a run and the fraction of the time spent waiting for data; mean ± sample "
    "standard deviation from three runs on, mean and range of two. Hours exclude start-up and validation."
)


def build(inputs: Inputs) -> tuple[Document, pd.DataFrame]:
    """A row per kind of run and hardware."""
    results = load_results(inputs)
    wide = pd.DataFrame(
        [row for log in results.logs for row in _rows(log)], columns=[*_GROUP, "seed", *_METRICS]
    )
    lines: list[list[Cell | str]] = [
        [
            *_kind_cells(kind, results.labels),
            f"{processes} × {device}",
            *(mean_std(part[metric], decimals) for metric, (_, decimals) in _METRICS.items()),
            f"{len(part)}",
        ]
        for (*kind, processes, device), part in wide.groupby(_GROUP, sort=False)
    ]
    missing, footnotes = _missing_kinds(results)
    lines += [
        [*_kind_cells(kind, results.labels), *[MISSING] * (1 + len(_METRICS)), Cell("0", note=mark)]
        for kind, mark in missing
    ]
    header = ["Corpus", "Architecture", "Objective", "Recipe", "Hardware"]
    header += [*(title for title, _ in _METRICS.values()), "Runs"]
    section = Section("", "lllll" + "r" * (len(_METRICS) + 1), header, lines, footnotes)
    long = wide.melt([*_GROUP, "seed"], list(_METRICS), var_name="metric", value_name="value")
    return Document("Training throughput", [section] if lines else [], [_REMARK]), long


def _rows(log: Log) -> list[list[Any]]:
    """A row per hardware that a run used."""
    kind = [log.run[key] for key in _KIND]
    rows = []
    for hardware, steps in log.timing().groupby(["processes", "device"], sort=False):
        speed = throughput(steps)
        metrics = [
            speed.pairs_per_second,
            speed.pairs_per_second_and_process,
            speed.step_seconds,
            100 * speed.waiting_seconds / speed.total_seconds,
            speed.total_seconds / 3600,
        ]
        rows.append([*kind, *hardware, log.run["seed"], *metrics])
    return rows


def _missing_kinds(results: ResultSet) -> tuple[list[tuple[list[str], str]], dict[str, Prose]]:
    """(kind, footnote mark) of each kind of run without any log, and the footnotes."""
    missing = results.missing[results.missing.protocol == "train"]
    available = {tuple(log.run[key] for key in _KIND) for log in results.logs}
    kinds: list[tuple[list[str], str]] = []
    footnotes: dict[str, Prose] = {}
    for kind, part in missing.groupby(_KIND, sort=True):
        if kind not in available:
            mark = footnote_mark(len(footnotes))
            footnotes[mark] = (NO_LOG, *code_list(brace_paths(part.path)))
            kinds.append((list(kind), mark))
    return kinds, footnotes


def _kind_cells(kind: list[str], labels: Labels) -> list[str]:
    corpus, architecture, objective, recipe = kind
    return [labels.corpus(corpus), architecture, OBJECTIVE_TITLES[objective], recipe]
