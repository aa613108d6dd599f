"""All tables and figures of the report, without importing the modules that make them.

A table is a module of `cloob.report.tables` with a constant `TABLE = Entry(...)`, a figure a module of
`cloob.report.figures` with `FIGURE = Entry(...)`; its name is the module's. The arguments of `Entry` must be
literals: Snakemake reads the registry in every job, so it is parsed from the source instead of importing
pandas and matplotlib.
"""

import ast
import pkgutil
import re
from dataclasses import dataclass
from functools import cache
from pathlib import Path

REQUIREMENTS = ("", "probe", "download", "search", "released")


@dataclass(frozen=True)
class Entry:
    """The metadata of a table or figure for the command line and the workflow.

    `category` is its heading in the HTML report, `help` its line in `--help`, `caption` the text below it in
    the report, and `inputs` are its kinds of input (keys of `INPUTS`). `requires` says when it can be made:
    always (""), if a test set has training images ("probe"), if a corpus is downloaded ("download"), if runs
    take their recipes from a hyperparameter search ("search"; otherwise on request), or only on request, from
    released checkpoints ("released").
    """

    category: str
    help: str
    caption: str
    inputs: tuple[str, ...]
    requires: str = ""
    name: str = ""  # the module's; set by the registry


@dataclass(frozen=True)
class Input:
    """A kind of input: its flag in `cloob report table` and `cloob report figure`, and its description.

    With `key`, each value of the flag has the form KEY=FILE.
    """

    flag: str
    help: str
    key: str = ""


_MODEL = "PRETRAINING/ARCHITECTURE/METHOD/EPOCH"
INPUTS = {
    "zeroshot": Input("results", "zeroshot results of every run, evaluated epoch and test set"),
    "linear_probe": Input(
        "results", "linear_probe results of every run, evaluated epoch and probed test set"
    ),
    "retrieval": Input("results", "retrieval results of every run, evaluated epoch and retrieval set"),
    # Of the following three, figures use the first retrieval set only.
    "embedding_structure": Input(
        "results", "embedding_structure results of every run, evaluated epoch and retrieval set"
    ),
    "embedding_structure_first_and_eval": Input(
        "results", "embedding_structure results at the first recorded epoch and every evaluated epoch"
    ),
    "embedding_structure_all": Input("results", "embedding_structure results at every recorded epoch"),
    "predictions_of_cloob": Input(
        "results",
        "sample predictions on every test set of one run at its last epoch (a CLOOB run, if there is one)",
    ),
    "overlap": Input("results", "train-test overlap of every corpus and test set"),
    "logs": Input("results", "metrics.parquet of every run, or its metrics.jsonl"),
    "search_trials": Input("results", "ranked trials of every objective of a hyperparameter search"),
    "released_zeroshot": Input("released", "zeroshot results of the released checkpoints", _MODEL),
    "released_linear_probe": Input(
        "released",
        "linear_probe results of the released checkpoints",
        _MODEL,
    ),
    "released_retrieval": Input("released", "retrieval results of the released checkpoints", _MODEL),
    # Empty unless the configuration has `baselines`; a figure with one of them can show released models.
    "baseline_zeroshot": Input("baselines", "zeroshot results of released models to compare with", _MODEL),
    "baseline_structure": Input(
        "baselines", "embedding_structure results of released models to compare with", _MODEL
    ),
    "baseline_overlap": Input(
        "baselines", "for the overlap, EPOCH is followed by /CORPUS, on which the model was trained", _MODEL
    ),
    "outcomes": Input("outcomes", "outcome CSVs of every split, in pipeline order", "CORPUS/SPLIT/STAGE"),
    "manifests": Input("manifests", "shards.json of every split", "CORPUS/SPLIT"),
    "download_summaries": Input("summaries", "summary.csv of every downloaded corpus"),
    "workflow_sources": Input("sources", "the Snakefile and the rule files"),
    "paper": Input("paper", "the results that the paper reports (config/paper_results.csv)"),
}


@cache
def tables() -> dict[str, Entry]:
    """Every table by name."""
    return _entries("tables", "TABLE")


@cache
def figures() -> dict[str, Entry]:
    """Every figure by name."""
    return _entries("figures", "FIGURE")


def _entries(package: str, constant: str) -> dict[str, Entry]:
    folder = Path(__file__).with_name(package)
    entries = {}
    for module in sorted(info.name for info in pkgutil.iter_modules([str(folder)])):
        source = (folder / f"{module}.py").read_text(encoding="utf-8")
        if re.search(rf"^{constant}\b", source, re.MULTILINE):
            entries[module] = _entry(module, source, constant, folder)
    return entries


def _entry(module: str, source: str, constant: str, folder: Path) -> Entry:
    """The literal arguments of `CONSTANT = Entry(...)`. Raises `ValueError` naming the module."""
    for node in ast.parse(source).body:
        if not isinstance(node, ast.Assign | ast.AnnAssign):
            continue
        target = node.target if isinstance(node, ast.AnnAssign) else node.targets[0]
        if ast.unparse(target) != constant:
            continue
        try:
            if not isinstance(node.value, ast.Call):
                raise TypeError(f"{constant} is not a call of Entry")
            arguments = {str(keyword.arg): ast.literal_eval(keyword.value) for keyword in node.value.keywords}
            entry = Entry(**{**arguments, "name": module})
            if unknown := set(entry.inputs) - set(INPUTS):
                raise ValueError(f"unknown inputs {', '.join(sorted(unknown))}")
            if entry.requires not in REQUIREMENTS:
                raise ValueError(f"requires={entry.requires!r}; known are {', '.join(REQUIREMENTS[1:])}")
            return entry
        except (TypeError, ValueError) as error:
            raise ValueError(f"{folder / module}.py, line {node.lineno}: {error}") from None
    raise ValueError(f"{folder / module}.py: {constant} is not assigned at the top level of the module")
