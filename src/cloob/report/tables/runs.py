"""The tables of training logs: how fast the runs were, and what made each of them."""

import pandas as pd

from cloob.common.errors import InputError
from cloob.report.load.inputs import Inputs
from cloob.report.load.logs import Log
from cloob.report.load.targets import in_braces, marker
from cloob.report.names import CORPORA, OBJECTIVES, label
from cloob.report.render.table import MISSING, Cell, Document, Section, number, spread
from cloob.report.render.text import Code, Prose, listed

_SPEEDS = {
    "pairs_per_second": ("Pairs/s", 1),
    "pairs_per_second_and_process": ("per process", 1),
    "step_seconds": ("Step (s)", 3),
    "waiting_for_data_pct": ("Waiting (%)", 1),
    "hours": ("Hours in steps", 2),
}
_KIND = ["corpus", "architecture", "objective", "recipe", "processes", "device"]
_NO_LOG = "no log yet; make "


def throughput(inputs: Inputs) -> tuple[Document, pd.DataFrame]:
    """A row per kind of run and machine: medians over the steps of a run, mean ± deviation over the seeds."""
    rows = [each for log in inputs.logs for each in _speeds(log)]
    wide = pd.DataFrame(rows, columns=[*_KIND, "seed", *_SPEEDS])
    lines: list[list[Cell | str]] = [
        [
            *_named(corpus, architecture, objective, recipe),
            f"{processes} × {device}",
            *(spread(part[name], decimals) for name, (_, decimals) in _SPEEDS.items()),
            f"{len(part)}",
        ]
        for (corpus, architecture, objective, recipe, processes, device), part in wide.groupby(
            _KIND, sort=False
        )
    ]
    lacking, notes = _lacking(inputs)
    lines += [
        [*names, *[MISSING] * len(_SPEEDS), MISSING, Cell("0", note=letter)] for names, letter in lacking
    ]
    head = ["Corpus", "Encoder", "Objective", "Recipe", "Machine"]
    head += [*(name for name, _ in _SPEEDS.values()), "Runs"]
    section = Section("", "lllll" + "r" * (len(_SPEEDS) + 1), head, lines, notes)
    remarks = [
        "Of each run the median over its steps, and how much of the time was waiting for data; mean ± sample "
        "standard deviation over the seeds. Hours without validation and start."
    ]
    long = wide.melt([*_KIND, "seed"], list(_SPEEDS), var_name="metric", value_name="value")
    return Document("Throughput of training", [section] if lines else [], remarks), long


def _speeds(log: Log) -> list[list[object]]:
    identity = [log.run[key] for key in ("corpus", "architecture", "objective", "recipe")]
    found: list[list[object]] = []
    for (processes, device), part in log.steps.groupby(["processes", "device"], sort=False):
        rate = part.samples_per_second.median()
        waiting = 100 * part.data_seconds.sum() / part.batch_seconds.sum()
        speeds = [
            rate,
            rate / processes,
            part.batch_seconds.median(),
            waiting,
            part.batch_seconds.sum() / 3600,
        ]
        found.append([*identity, processes, device, log.run["seed"], *speeds])
    return found


def provenance(inputs: Inputs) -> tuple[Document, pd.DataFrame]:
    """A row per run: the commit, configuration and data that made it, where, how long, restarts."""
    rows = [_made(log) for log in inputs.logs]
    long = pd.DataFrame(rows, columns=_PROVENANCE)
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
    notes: dict[str, Prose] = {}
    for path in inputs.missing[inputs.missing.protocol == "train"].path:
        notes[letter := marker(len(notes))] = (_NO_LOG, Code(path))
        lines.append([Cell(path.parent.name, note=letter), *[MISSING] * (len(_HEAD) - 1)])
    remarks = [
        "Config: SHA-256 of the run's row of the grid, its recipe and its model. Data: SHA-256 of the "
        "contents of the training shards. Both and the commit in full in the CSV. Hours without validation "
        "and start."
    ]
    section = Section("", "llllrrlr", _HEAD, lines, notes)
    return Document("What made each run", [section] if lines else [], remarks), long


def _made(log: Log) -> dict[str, object]:
    """The columns of `_PROVENANCE`. Raises `InputError` for a log that does not say them."""
    last = log.starts[-1]
    try:
        machines = dict.fromkeys(f"{each['processes']} × {each['device']}" for each in log.starts)
        commits = dict.fromkeys(each["commit"] or "unknown" for each in log.starts)
        return {
            "run": log.run["name"],
            "commit": " ".join(commits),
            "config_sha256": log.config_sha256,
            "corpus_sha256": last["corpus_sha256"],
            "urls_sha256": last.get("urls_sha256") or "",
            "pairs": last["pairs"],
            "hours": log.hours,
            "hardware": "; ".join(machines),
            "restarts": last["restarts"],
            "torch": last["torch"],
        }
    except KeyError as error:
        raise InputError(f"{log.path}: its start does not say {error}; train the run again") from None


_HEAD = ["Run", "Commit", "Config", "Data", "Pairs", "Hours in steps", "Machine", "Restarts"]
_PROVENANCE = [
    "run",
    "commit",
    "config_sha256",
    "corpus_sha256",
    "urls_sha256",
    "pairs",
    "hours",
    "hardware",
    "restarts",
    "torch",
]


def _lacking(inputs: Inputs) -> tuple[list[tuple[list[str], str]], dict[str, Prose]]:
    """Names and marker of each kind of run without any log, and the footnotes of these."""
    keys = ["corpus", "architecture", "objective", "recipe"]
    gone = inputs.missing[inputs.missing.protocol == "train"]
    there = {tuple(log.run[key] for key in keys) for log in inputs.logs}
    found: list[tuple[list[str], str]] = []
    notes: dict[str, Prose] = {}
    for key, part in gone.groupby(keys, sort=True):
        if key not in there:
            notes[letter := marker(len(notes))] = (_NO_LOG, *listed(in_braces(part.path)))
            found.append((_named(*key), letter))
    return found, notes


def _named(corpus: str, architecture: str, objective: str, recipe: str) -> list[str]:
    return [label(corpus, CORPORA), architecture, label(objective, OBJECTIVES), recipe]
