"""The tables and figures that can be made with a config, and their input files."""

from collections.abc import Callable
from pathlib import Path
from typing import Literal

from cloob.report.registry import INPUTS, Entry, figures, tables
from cloob.workflow.corpora import downloaded_splits, manifests, outcome_files
from cloob.workflow.evaluation import overlap_files, probed_testsets, result_files
from cloob.workflow.flags import escape_for_report, flags, named_paths
from cloob.workflow.released import baseline_files, overlap_baseline_files, released_files
from cloob.workflow.runs import (
    Config,
    EpochSelection,
    embedding_eval_epochs,
    eval_epochs,
    first_and_eval_epochs,
    planned_runs,
)
from cloob.workflow.search import rankings, reported_searches, searches, used_searches

PAPER_RESULTS = "config/paper_results.csv"
ENTRIES = {"table": tables, "figure": figures}
Kind = Literal["table", "figure"]


def report_entry(kind: Kind, name: str) -> Entry:
    """The registered table or figure of a name."""
    return ENTRIES[kind]()[name]


def report_names(config: Config, kind: Kind) -> list[str]:
    """The tables or figures that the target `all` makes with this config."""
    return [
        name
        for name, entry in ENTRIES[kind]().items()
        if entry.requires != "released"
        and (entry.requires != "search" or used_searches(config))
        and unmet_requirement(config, entry) is None
    ]


def unmet_requirement(config: Config, entry: Entry) -> str | None:
    """Why a table or figure cannot be made with this config, with the key to change; or None."""
    if entry.requires == "released" and not config["released_checkpoints"]:
        return "No released checkpoint is configured: give one, released_checkpoints.NAME.url or .open_clip"
    needs_probe = entry.requires == "probe" or "released_linear_probe" in entry.inputs
    if needs_probe and not probed_testsets(config):
        return "No test set has a linear probe: name training images, testsets.NAME.probe_train_set"
    if entry.requires == "download" and not downloaded_splits(config):
        return "No corpus is downloaded: all splits are packed from files on disk"
    if entry.requires == "search" and not searches(config):
        return "No hyperparameter search is configured: add one to `search`"
    return None


def report_input_files(config: Config, kind: Kind, name: str, workflow_folder: Path) -> list[str]:
    """The files that a table or figure waits for.

    With `allow_missing`, a table does not wait for result files and logs.
    """
    words = report_entry(kind, name).inputs
    if kind == "table" and config["allow_missing"]:
        words = tuple(word for word in words if INPUTS[word].flag not in ("results", "baselines"))
    files = [path for word in words for path in _files(config, kind, word, workflow_folder)]
    return list(dict.fromkeys(files))


def report_flags(config: Config, kind: Kind, name: str, workflow_folder: Path) -> list[str]:
    """All inputs of a table or figure, keyed ones as KEY=FILE, and the labels, as flags of `cloob report`."""
    values: dict[str, list[str]] = {}
    for word in report_entry(kind, name).inputs:
        for path, key in _files(config, kind, word, workflow_folder).items():
            values.setdefault(INPUTS[word].flag, []).append(f"{key}={path}" if key else path)
    titles = {corpus: escape_for_report(settings["title"]) for corpus, settings in config["corpora"].items()}
    labels = {"corpus_title": named_paths(titles), "title_suffix": escape_for_report(config["title_suffix"])}
    missing = ["--allow-missing"] if kind == "table" and config["allow_missing"] else []
    return flags(values | labels) + missing


def _files(config: Config, kind: Kind, word: str, workflow_folder: Path) -> dict[str, str]:
    """{path: key, or ""} for one of the registry's `INPUTS`."""
    if word in ("zeroshot", "linear_probe", "retrieval"):
        datasets = {
            "zeroshot": config["testsets"],
            "linear_probe": probed_testsets(config),
            "retrieval": config["evaluate"]["retrieval_sets"],
        }
        return dict.fromkeys(result_files(config, word, datasets[word]), "")
    if word in _STRUCTURE_EPOCHS:
        # A figure shows the first retrieval set only.
        retrieval_sets = list(config["evaluate"]["retrieval_sets"])[: 1 if kind == "figure" else None]
        epochs = _STRUCTURE_EPOCHS[word]
        return dict.fromkeys(result_files(config, "embedding_structure", retrieval_sets, epochs), "")
    if word == "workflow_sources":
        rules = sorted((workflow_folder / "rules").glob("*.smk"))
        return dict.fromkeys(map(str, [workflow_folder / "Snakefile", *rules]), "")
    return _OTHER_FILES[word](config)


_STRUCTURE_EPOCHS: dict[str, EpochSelection] = {
    "embedding_structure": eval_epochs,
    "embedding_structure_first_and_eval": first_and_eval_epochs,
    "embedding_structure_all": embedding_eval_epochs,
}


def _paths_to_keys(paths: dict[str, str]) -> dict[str, str]:
    return {path: key for key, path in paths.items()}


def _predictions_of_cloob(config: Config) -> dict[str, str]:
    """Sample predictions of one run at its last evaluated epoch: the first CLOOB run, else the first run."""
    runs = planned_runs(config)
    cloob = [name for name, planned in runs.items() if planned.run.objective == "cloob"]
    name = (cloob or list(runs))[0]
    epoch = max(config["recipes"][runs[name].recipe]["eval_epochs"])
    folder = f"{config['results']}/evaluate/{name}/epoch_{epoch}/predictions"
    return {f"{folder}/{testset}.json": "" for testset in config["testsets"]}


def _download_summaries(config: Config) -> dict[str, str]:
    corpora = sorted({split.corpus for split in downloaded_splits(config)})
    return {f"{config['results']}/download/{corpus}/summary.csv": "" for corpus in corpora}


def _logs(config: Config) -> dict[str, str]:
    return {f"{config['results']}/train/{run}/metrics.parquet": "" for run in planned_runs(config)}


_OTHER_FILES: dict[str, Callable[[Config], dict[str, str]]] = {
    "logs": _logs,
    "predictions_of_cloob": _predictions_of_cloob,
    "search_trials": lambda config: {
        path: "" for search in reported_searches(config) for path in rankings(config, search)
    },
    "overlap": lambda config: dict.fromkeys(overlap_files(config), ""),
    "outcomes": lambda config: _paths_to_keys(outcome_files(config)),
    "manifests": lambda config: _paths_to_keys(manifests(config)),
    "download_summaries": _download_summaries,
    "released_zeroshot": lambda config: released_files(config, "zeroshot"),
    "released_linear_probe": lambda config: released_files(config, "linear_probe"),
    "released_retrieval": lambda config: released_files(config, "retrieval"),
    "baseline_zeroshot": lambda config: baseline_files(config, "zeroshot"),
    "baseline_overlap": overlap_baseline_files,
    "baseline_structure": lambda config: baseline_files(config, "embedding_structure"),
    "paper": lambda config: {PAPER_RESULTS: ""},
}
