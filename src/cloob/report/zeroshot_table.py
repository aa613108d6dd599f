"""The zero-shot accuracies as the paper prints them: a row per test set, a column per objective and epoch."""

from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from cloob.errors import InputError
from cloob.files import replacing
from cloob.report.names import CORPORA, DATASETS, OBJECTIVES, in_order, label, titled
from cloob.report.results import read_results, write_table
from cloob.report.sources import write_sources

METRIC = "accuracy"  # what the paper reports for every set


def report_zeroshot(results: Sequence[Path], csv: Path, mark: str) -> None:
    """Write all metrics as a long CSV, and the accuracies in the paper's form as Markdown."""
    if not results:
        raise InputError("--results: no result files are given; evaluate a run first")
    table = read_results(results)
    markdown = csv.with_suffix(".md")
    write_table(table, csv)
    with replacing(markdown) as beside:
        beside.write_text(zeroshot_markdown(table, mark), encoding="utf-8")
    write_sources([csv, markdown], results, packages=["pandas"])


def zeroshot_markdown(table: pd.DataFrame, mark: str) -> str:
    """Accuracies in percent, mean ± standard deviation over seeds; a table per corpus and architecture."""
    lines = [f"# {titled('Zero-shot accuracy (%)', mark)}", ""]
    accuracies = table[table.metric == METRIC]
    for (corpus, architecture), part in accuracies.groupby(["corpus", "architecture"], sort=False):
        lines += [f"## {label(corpus, CORPORA)}, {architecture}", "", *_paper_table(part), ""]
    lines += [
        "Mean ± sample standard deviation over the seeds; one seed has no deviation; — is a missing result.",
        "Chance is one over the number of classes. Means over the sets: of the seeds that have all of them.",
    ]
    return "\n".join(lines) + "\n"


def _paper_table(part: pd.DataFrame) -> list[str]:
    """The lines of one table; `part` holds the accuracies of one corpus and architecture."""
    several_recipes = part.recipe.nunique() > 1
    columns = list(part.groupby(["epoch", "recipe", "objective"], sort=False).groups)
    columns.sort(key=lambda column: (column[0], column[1], list(OBJECTIVES).index(column[2])))
    heads = [
        f"{label(objective, OBJECTIVES)}, epoch {epoch}" + (f", {recipe}" if several_recipes else "")
        for epoch, recipe, objective in columns
    ]
    datasets = in_order(part.dataset, DATASETS)
    # One block per column of the table: seeds × test sets, NaN where there is no result.
    blocks = [
        part[(part.epoch == epoch) & (part.recipe == recipe) & (part.objective == objective)]
        .pivot(index="seed", columns="dataset", values="value")
        .reindex(columns=datasets)
        for epoch, recipe, objective in columns
    ]
    chance = part.groupby("dataset").chance.first()
    rows = [
        [label(name, DATASETS), *(_percent(block[name]) for block in blocks), f"{100 * chance[name]:.2f}"]
        for name in datasets
    ]
    rows.append(
        [
            "Mean",
            *(_percent(block.mean(axis=1, skipna=False)) for block in blocks),
            f"{100 * chance.mean():.2f}",
        ]
    )
    multiples = [(block / chance[datasets]).mean(axis=1, skipna=False) for block in blocks]
    rows.append(["Mean of accuracy / chance", *(_spread(each) for each in multiples), "1.00"])
    rows.append(["Seeds", *(str(len(block)) for block in blocks), ""])
    return [
        _line(["Test set", *heads, "Chance"]),
        _line(["---"] + ["---:"] * (len(heads) + 1)),
        *map(_line, rows),
    ]


def _percent(fractions: pd.Series) -> str:
    return _spread(100 * fractions)


def _spread(values: pd.Series) -> str:
    values = values.dropna()
    if values.empty:
        return "—"
    return f"{values.mean():.2f}" + (f" ± {values.std(ddof=1):.2f}" if len(values) > 1 else "")


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"
