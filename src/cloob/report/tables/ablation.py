"""The ablation: all objectives side by side, in all metrics that the paper uses."""

from collections.abc import Iterator

import pandas as pd

from cloob.objectives.registry import OBJECTIVES
from cloob.report.load.inputs import Inputs
from cloob.report.load.recipes import selection_remark
from cloob.report.load.result_set import PROTOCOLS, SATURATION, load_results
from cloob.report.names import DATASETS, ordered
from cloob.report.registry import Entry
from cloob.report.tables.grid import MEAN, Grid, Row
from cloob.report.tables.grid_section import grid_section
from cloob.report.tables.grid_tables import (
    ACCURACY,
    AJNE,
    EIGENVALUES,
    SEEDS_REMARK,
    Table,
    document,
    long_table,
    recalls,
)
from cloob.report.tables.verdicts import tested_claims

VERDICT_REMARK = (
    "Verdicts: on the paper's claims about a row, tested one-sided over seeds and corrected within their "
    "families; effects, intervals and p-values are in the table of the claims. Pairs are runs with the same "
    "seed, also where the objectives have different recipes."
)
TABLE = Entry(
    category="Claims",
    help="all objectives side by side",
    caption="Ablation: InfoNCE and InfoLOOB, each with and without Hopfield retrieval, compared in all "
    "metrics that the paper uses.",
    inputs=("zeroshot", "linear_probe", "retrieval", "embedding_structure", "logs", "paper"),
)


def build(inputs: Inputs) -> Table:
    """A section per corpus, architecture and epoch, a row per metric, a column per registered objective."""
    results = load_results(inputs)
    sections, grids = [], []
    for group, values, missing in results.groups((*PROTOCOLS, "train")):
        rows = list(_rows(values, missing))
        columns = list(OBJECTIVES)
        grid = Grid(group, values, missing, rows, results.paper, objectives=columns, tested=False)
        grids.append(grid)
        sections.append(
            grid_section(
                *(grid, results.title(group), "Metric"),
                verdicts=_verdicts(grid),
                remarks=[*results.recipe_remark(group), *selection_remark(group.recipes)],
            )
        )
    remark = (
        "Means over test sets: only seeds with results for all test sets. 1 − p: the saturation factor of "
        "InfoNCE's gradient."
    )
    title = "Ablation of loss and Hopfield retrieval"
    return (
        document(title, sections, [SEEDS_REMARK, remark, VERDICT_REMARK], grids),
        long_table(results, [], grids),
    )


def _verdicts(grid: Grid) -> dict[Row, str]:
    """Row -> the verdicts on the claims about its values: `CLOOB > CLIP: supported; …`."""
    verdicts: dict[tuple[str, str, str], list[str]] = {}
    for claim in tested_claims(grid):
        row = claim.hypothesis.row
        text = f"{claim.hypothesis.short}: {claim.verdict.conclusion}"
        verdicts.setdefault((row.protocol, row.dataset, row.metric), []).append(text)
    return {
        row: "; ".join(verdicts.get((row.protocol, row.dataset, row.metric), [])) for row in grid.all_rows
    }


def _rows(values: pd.DataFrame, missing: pd.DataFrame) -> Iterator[Row]:
    targets = pd.concat([values[["protocol", "dataset"]], missing[["protocol", "dataset"]]])
    for protocol, title in (("zeroshot", "Zero-shot"), ("linear_probe", "Linear probe")):
        datasets = set(targets[targets.protocol == protocol].dataset)
        if datasets:
            yield Row(protocol, MEAN, ACCURACY, f"{title}, mean (%)", 100)
        if "imagenet" in datasets:
            yield Row(protocol, "imagenet", ACCURACY, f"{title}, ImageNet (%)", 100)
    for protocol, metrics in (
        ("retrieval", recalls((1,))),
        ("embedding_structure", [*EIGENVALUES, *AJNE]),
    ):
        for dataset in ordered(targets[targets.protocol == protocol].dataset, DATASETS):
            yield from (Row(protocol, dataset, *metric) for metric in metrics)
    yield Row("train", "", SATURATION, "1 − p, held-out pairs", 1, 3, 0)
