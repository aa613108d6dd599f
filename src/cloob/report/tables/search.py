"""Hyperparameter searches: all settings, the chosen ones, and how flat the optimum is."""

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from cloob.report.load.inputs import Inputs
from cloob.report.load.rankings import Ranking, read_ranking
from cloob.report.names import OBJECTIVE_TITLES, ordered
from cloob.report.registry import Entry
from cloob.report.render.document import Cell, Document, Heading, Section
from cloob.report.render.numbers import MISSING, footnote_mark, number
from cloob.report.render.text import Code, Prose

TABLE = Entry(
    category="Training",
    help="hyperparameter searches: all settings, and the chosen ones",
    caption="Hyperparameter searches: image-text retrieval on the validation pairs after the last epoch for "
    "every setting, the setting chosen for each objective, and how flat the optimum is.",
    inputs=("search_trials",),
    requires="search",
)
_COLUMNS = [
    *("search", "objective", "rank", "setting", "diverged", "mean_r1"),
    *("image_to_text_r1", "text_to_image_r1", "seed", "epochs", "validation_pairs"),
]
_REMARK = (
    "R@1 (%) on the validation pairs after the last epoch, of one seed; settings are ranked by the mean of "
    "both directions, and no test set is used. The standard error of a recall p of n pairs is "
    "√(p(1 − p)/n): a setting within it of the best is not distinguishable from it."
)


def build(inputs: Inputs) -> tuple[Document, pd.DataFrame]:
    """For each search, the chosen recipes, and all settings that were ranked."""
    missing = [path for path in inputs.results if inputs.allow_missing and not path.exists()]
    rankings = [read_ranking(path) for path in inputs.results if path not in missing]
    order = ordered({ranking.objective for ranking in rankings}, OBJECTIVE_TITLES)
    rankings.sort(key=lambda ranking: order.index(ranking.objective))
    sections = []
    names = {ranking.search for ranking in rankings} | {path.parent.name for path in missing}
    for search in sorted(names):
        of_search = [ranking for ranking in rankings if ranking.search == search]
        gaps = [path for path in missing if path.parent.name == search]
        sections.append(_choices(search, of_search, gaps))
        sections += [_settings(search, of_search)] if of_search else []
    long = pd.DataFrame([row for ranking in rankings for row in _rows(ranking)], columns=_COLUMNS)
    return Document("Hyperparameter search", sections, [_REMARK]), long


def _choices(search: str, rankings: list[Ranking], missing: list[Path]) -> Section:
    """A row per objective: the chosen values, and the number of settings that are about as good."""
    rows: list[list[Cell | str]] = []
    for ranking in rankings:
        best = ranking.winner.mean_r1 or 0.0
        error = math.sqrt(best * (1 - best) / ranking.validation_pairs)
        rows.append(
            [
                OBJECTIVE_TITLES[ranking.objective],
                _text(ranking.winner.values),
                f"{number(100 * best)} ± {100 * error:.2f}",
                f"{_num_within(ranking, 0.01)} of {len(ranking.trials)}",
                f"{_num_within(ranking, error)} of {len(ranking.trials)}",
            ]
        )
    footnotes: dict[str, Prose] = {}
    for path in missing:
        mark = footnote_mark(len(footnotes))
        footnotes[mark] = ("no trials yet; build ", Code(path))
        title = OBJECTIVE_TITLES.get(path.name.removesuffix("_trials.json"), path.name)
        rows.append([Cell(title, note=mark), *[MISSING] * 4])
    header = ["Objective", "Chosen", "R@1 ± SE", "Within 1 point", "Within 1 SE"]
    return Section(f"{search}: chosen recipes", "llrrr", header, rows, footnotes, remarks=_edges(rankings))


def _settings(search: str, rankings: list[Ranking]) -> Section:
    """A row per setting, best first, grouped by objective."""
    rows: list[list[Cell | str] | Heading] = []
    for ranking in rankings:
        rows.append(Heading(OBJECTIVE_TITLES[ranking.objective]))
        varied = {key for key in ranking.winner.values if len(_values(ranking, key)) > 1}
        for trial in ranking.trials:
            text = _text({key: value for key, value in trial.values.items() if key in varied or not varied})
            recalls = (trial.mean_r1, trial.image_to_text_r1, trial.text_to_image_r1)
            cells = [number(None if value is None else 100 * value) for value in recalls]
            cells = ["diverged", MISSING, MISSING] if trial.mean_r1 is None else cells
            rows.append([f"{trial.rank}", *(Cell(cell, trial.rank == 1) for cell in (text, *cells))])
    setups = dict.fromkeys(
        f"seed {ranking.seed}, {ranking.epochs} epochs, {ranking.validation_pairs:,} validation pairs"
        for ranking in rankings
    )
    header = ["Rank", "Setting", "R@1", "image → text", "text → image"]
    return Section(f"{search}: all settings", "rlrrr", header, rows, remarks=[f"{'; '.join(setups)}."])


def _num_within(ranking: Ranking, distance: float) -> int:
    """The number of settings whose mean R@1 is at most `distance` below the best, including the best."""
    best = ranking.winner.mean_r1 or 0.0
    recalls = (trial.mean_r1 for trial in ranking.trials)
    return sum(recall is not None and best - recall <= distance + 1e-12 for recall in recalls)


def _values(ranking: Ranking, key: str) -> list[Any]:
    """The different values of a hyperparameter in the grid."""
    return list(dict.fromkeys(trial.values[key] for trial in ranking.trials))


def _edges(rankings: list[Ranking]) -> list[Prose]:
    """Which chosen values are the smallest or largest of their grid: a better one may be beyond it."""
    if not rankings:
        return []
    edges = []
    for ranking in rankings:
        for key, chosen in ranking.winner.values.items():
            values = _values(ranking, key)
            if len(values) < 2 or not all(type(value) in (int, float) for value in values):
                continue
            end = "smallest" if chosen == min(values) else "largest" if chosen == max(values) else ""
            edges += [f"{OBJECTIVE_TITLES[ranking.objective]}: {end} {key}"] if end else []
    if not edges:
        return ["No chosen value is at the edge of its grid."]
    return [f"At the edge of the grid ({'; '.join(edges)}): extend it, a better value may be beyond."]


def _text(values: Mapping[str, Any]) -> str:
    """`learning_rate 0.001, warmup_steps 800`."""
    return ", ".join(f"{key} {value}" for key, value in values.items())


def _rows(ranking: Ranking) -> list[list[object]]:
    return [
        [
            *(ranking.search, ranking.objective, trial.rank, _text(trial.values), trial.mean_r1 is None),
            *(trial.mean_r1, trial.image_to_text_r1, trial.text_to_image_r1),
            *(ranking.seed, ranking.epochs, ranking.validation_pairs),
        ]
        for trial in ranking.trials
    ]
