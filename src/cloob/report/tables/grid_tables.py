"""Code that the grid tables share: documents, long CSVs, accuracies per test set, and lists of metrics."""

from collections.abc import Sequence
from typing import Any

import pandas as pd

from cloob.report.load.long_table import COLUMNS, MEASURED, sort_rows
from cloob.report.load.recipes import selection_remark
from cloob.report.load.result_set import ResultSet
from cloob.report.names import CLIP, CLOOB, DATASETS, OBJECTIVE_TITLES, display_name, ordered
from cloob.report.render.document import Document, Section
from cloob.report.render.text import Prose
from cloob.report.tables.grid import MEAN, Grid, Row
from cloob.report.tables.grid_section import grid_section

Table = tuple[Document, pd.DataFrame]
# metric, label, scale, decimals, better, family
Metrics = Sequence[tuple[str, str, float, int, int] | tuple[str, str, float, int, int, str]]

ACCURACY = "accuracy"  # the metric that the paper reports for every test set
_SIDES = ("image", "text")
EIGENVALUES: Metrics = [
    (f"effective_eigenvalues_{side}", f"Effective eigenvalues, {side} ↑", 1, 1, 1, "eigenvalues")
    for side in _SIDES
]
AJNE: Metrics = [(f"ajne_{side}", f"Ajne statistic, {side} ↓", 1, 2, -1, "uniformity") for side in _SIDES]
DIRECTIONS = {"image_to_text": "Image to text", "text_to_image": "Text to image"}

SEEDS_REMARK = (
    "Mean ± sample standard deviation from three seeds on; two seeds are their mean and range. A single "
    "seed has a 95% confidence interval [in brackets], of the seed and of the test images together, only if "
    "other runs of the table have three or more seeds on the same test set. Bold: the best mean of a row; "
    "this is not a test."
)
TEST_REMARK = (
    f"{OBJECTIVE_TITLES[CLOOB]} − {OBJECTIVE_TITLES[CLIP]}: mean difference paired by seed, with its 95% "
    "confidence interval (Student's t) from three pairs on, or the range of two pairs. p: exact Wilcoxon "
    "signed-rank test, two-sided because a row states no direction, corrected after Holm over "
)
SETS_FAMILY = "the test sets of a section. The mean over the test sets is a family of its own."
PUBLISHED_REMARK = (
    "Published: mean ± standard deviation in the paper; in parentheses our difference from it and, if both "
    "are at least three runs with a known deviation, the two-sided p of Welch's test. This p is not "
    "corrected, because a correction would hide differences. Single runs are not tested. Some of the paper's "
    "columns on YFCC do not name an epoch and are taken as epoch 28. It is unknown which variant of "
    "ImageNetV2 the paper evaluates: its number is compared with all three."
)
NOT_PUBLISHED_REMARK = "The paper reports no numbers for these runs."


def recalls(ks: Sequence[int]) -> Metrics:
    """R@k of image-text retrieval in both directions."""
    return [
        (f"{direction}_r{k}", f"{title}, R@{k} (%)", 100, 2, 1, f"r{k}")
        for direction, title in DIRECTIONS.items()
        for k in ks
    ]


def accuracy_table(
    results: ResultSet,
    protocol: str,
    title: str,
    metrics: dict[str, str],
    remarks: Sequence[Prose] = (),
) -> Table:
    """Accuracies in percent: a section per group and metric (-> suffix of its title), a row per test set."""
    sections, grids = [], []
    for group, values, missing in results.groups([protocol]):
        datasets = ordered([*values.dataset, *missing.dataset], DATASETS)
        known = values[values.metric == ACCURACY].dropna(subset="chance").groupby("dataset").chance.first()
        chance = {**known, MEAN: known[datasets].mean()} if set(datasets) <= set(known.index) else dict(known)
        for metric, suffix in metrics.items():
            rows = [
                Row(protocol, dataset, metric, display_name(dataset, DATASETS), 100) for dataset in datasets
            ]
            means = [Row(protocol, MEAN, metric, "Mean", 100)]
            grid = Grid(group, values, missing, rows, results.paper, means)
            grids.append(grid)
            remark = results.recipe_remark(group)
            title_of = results.title(group) + suffix
            sections.append(grid_section(grid, title_of, "Test set", chance, remarks=remark))
    remarks = [
        SEEDS_REMARK,
        "Chance: 1 / number of classes. Mean: over all test sets above; only seeds with results for all of "
        "them.",
        TEST_REMARK + SETS_FAMILY,
        *remarks,
    ]
    return document(title, sections, remarks, grids), long_table(results, [protocol], grids)


def metric_table(
    results: ResultSet,
    protocol: str,
    title: str,
    metrics: Metrics,
    family: str,
    remarks: Sequence[Prose] = (),
) -> Table:
    """Metrics of a protocol: a section per group and retrieval set, a row per metric.

    `family` names the rows that are corrected together.
    """
    sections, grids = [], []
    for group, values, missing in results.groups([protocol]):
        datasets = ordered([*values.dataset, *missing.dataset], DATASETS)
        for dataset in datasets:
            rows = [Row(protocol, dataset, *metric) for metric in metrics]
            grid = Grid(group, values, missing, rows, results.paper)
            grids.append(grid)
            suffix = f", {dataset}" if len(datasets) > 1 else ""
            remark = [*results.recipe_remark(group), *selection_remark(group.recipes)]
            sections.append(grid_section(grid, results.title(group) + suffix, "Metric", remarks=remark))
    remarks = [SEEDS_REMARK, *remarks, f"{TEST_REMARK}{family}."]
    return document(title, sections, remarks, grids), long_table(results, [protocol], grids)


def document(
    title: str, sections: Sequence[Section], remarks: Sequence[Prose], grids: Sequence[Grid]
) -> Document:
    """A document with the remark on published numbers that applies."""
    published = any(grid.has_published() for grid in grids)
    return Document(title, sections, [*remarks, PUBLISHED_REMARK if published else NOT_PUBLISHED_REMARK])


def long_table(results: ResultSet, protocols: Sequence[str], grids: Sequence[Grid]) -> pd.DataFrame:
    """Every value of every run, the statistics over seeds, and a row per missing result."""
    values = results.values[results.values.protocol.isin(protocols)]
    measured = sort_rows(values[COLUMNS]).assign(statistic=MEASURED)
    records: list[dict[str, Any]] = measured.astype(object).to_dict("records")
    for grid in grids:
        records += grid.aggregates()
    for row in results.missing[results.missing.protocol.isin(protocols)].itertuples():
        record = {key: getattr(row, key) for key in COLUMNS if hasattr(row, key)}
        records.append(record | {"metric": "", "value": None, "chance": None, "statistic": "missing"})
    return pd.DataFrame(records, columns=[*COLUMNS, "statistic"]).astype(object)
