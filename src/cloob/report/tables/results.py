"""The tables of result files: zero-shot, linear probe, retrieval, embedding structure, and the ablation."""

from collections.abc import Iterator, Sequence
from typing import Any

import pandas as pd

from cloob.report.load.inputs import PROTOCOLS, SATURATION, Inputs
from cloob.report.load.result_file import read_result
from cloob.report.load.results import COLUMNS, MEASURED, sorted_rows
from cloob.report.names import DATASETS, OBJECTIVES, in_order, label
from cloob.report.render.table import Document, Section
from cloob.report.render.text import Prose
from cloob.report.stats.significance import LEVEL
from cloob.report.tables.grid import MEAN, OURS, THEIRS, Grid, Row
from cloob.report.tables.released import NOT_CONVERGED

ACCURACY = "accuracy"  # what the paper reports for every set
_SIDES = ("image", "text")
_DIRECTIONS = {"image_to_text": "Image to text", "text_to_image": "Text to image"}
_RECALLS = [
    (f"{way}_r{k}", f"{name}, R@{k} (%)", 100, 2, 1) for way, name in _DIRECTIONS.items() for k in (1, 5, 10)
]
_RANKS = [
    (f"{way}_{which}_rank", f"{name}, {which} rank ↓", 1, 1, -1)
    for way, name in _DIRECTIONS.items()
    for which in ("mean", "median")
]
_EIGENVALUES = [
    (f"effective_eigenvalues_{side}", f"Effective eigenvalues, {side} ↑", 1, 1, 1) for side in _SIDES
]
_AJNE = [(f"ajne_{side}", f"Ajne's score, {side} ↓", 1, 2, -1) for side in _SIDES]
_STRUCTURE = [
    *_EIGENVALUES,
    *_AJNE,
    ("uniformity_image", "Uniformity (Wang and Isola), image ↓", 1, 3, -1),
    ("uniformity_text", "Uniformity (Wang and Isola), text ↓", 1, 3, -1),
    ("alignment", "Alignment ↓", 1, 3, -1),
    ("modality_gap", "Modality gap", 1, 3, 0),
]

SPREAD = "Mean ± sample standard deviation over the seeds; one seed has no deviation."
RULE = (
    f"{OBJECTIVES[OURS]} − {OBJECTIVES[THEIRS]}: mean of the differences paired by seed, its 95 % interval "
    "(percentile bootstrap over the pairs), and p of the one-sided Wilcoxon signed-rank test (exact up to 13 "
    f"pairs) that {OBJECTIVES[OURS]} is the better one. Bold: the best mean of a row, where that test of it "
    f"against the next best gives p ≤ {LEVEL}, not corrected."
)
RELEASED = (
    "Published: the paper's mean ± deviation, in brackets how far ours lies from it, and whether in that "
    "deviation or out of it. Some of its columns on YFCC name no epoch; they are taken as of epoch 28. "
    "Which variant of ImageNetV2 the paper took is not known: its number stands beside each."
)

UNPUBLISHED = "No published numbers stand beside these: the paper reports none of such runs."


def zeroshot(inputs: Inputs) -> tuple[Document, pd.DataFrame]:
    """Accuracies in percent: a section per corpus, architecture and epoch, a row per test set."""
    return _accuracies(inputs, "zeroshot", "Zero-shot accuracy (%)", {ACCURACY: ""})


def linear_probe(inputs: Inputs) -> tuple[Document, pd.DataFrame]:
    """Accuracies in percent, of each kind of features that was probed."""
    metrics, stuck = {ACCURACY: ""}, []
    for path in inputs.there[inputs.there.protocol == "linear_probe"].path:
        result = read_result(path, "linear_probe", needs=["metrics", "probes"])
        kinds = [each["features"] for each in result["probes"]]
        if not all(each.get("converged", True) for each in result["probes"]):
            stuck.append(f"{result['run']['name']}, epoch {result['epoch']}, {result['dataset']}")
        for place, kind in enumerate(kinds):  # the first is the same in all files: see `read_results`
            name = f"{ACCURACY}_{kind}" if place else ACCURACY
            metrics[name] = f", features {kind.replace('_', ' the ')}"
    remarks = [(f"{NOT_CONVERGED}: {'; '.join(stuck)}.",)] if stuck else []
    return _accuracies(inputs, "linear_probe", "Linear-probe accuracy (%)", metrics, remarks)


def _accuracies(
    inputs: Inputs, protocol: str, title: str, metrics: dict[str, str], more: Sequence[Prose] = ()
) -> tuple[Document, pd.DataFrame]:
    sections, grids = [], []
    for group, values, missing in inputs.groups([protocol]):
        datasets = in_order([*values.dataset, *missing.dataset], DATASETS)
        known = values[values.metric == ACCURACY].dropna(subset="chance").groupby("dataset").chance.first()
        chance = {**known, MEAN: known[datasets].mean()} if set(datasets) <= set(known.index) else dict(known)
        for metric, suffix in metrics.items():
            rows = [Row(protocol, each, metric, label(each, DATASETS), 100) for each in datasets]
            means = [Row(protocol, MEAN, metric, "Mean", 100)]
            grid = Grid(group, values, missing, rows, inputs.paper, means)
            grids.append(grid)
            sections.append(grid.section(inputs.title(group) + suffix, "Test set", chance))
    remarks = [
        SPREAD,
        "Chance: one over the number of classes. Mean: of all sets above, of the seeds that have them all.",
        RULE,
        *more,
    ]
    return _document(title, sections, remarks, grids), _long(inputs, [protocol], grids)


def retrieval(inputs: Inputs) -> tuple[Document, pd.DataFrame]:
    """Recalls and ranks between the held-out images and their captions, both directions."""
    return _quantities(inputs, "retrieval", "Retrieval of held-out pairs", [*_RECALLS, *_RANKS])


def embedding_structure(inputs: Inputs) -> tuple[Document, pd.DataFrame]:
    """How the embeddings of held-out pairs lie on the sphere."""
    remark = (
        "Effective eigenvalues: the fewest whose sum is 99 % of the covariance's trace. Ajne's score grows "
        "with the number of images; the published ones were read off a figure, of how many is not known."
    )
    return _quantities(inputs, "embedding_structure", "Structure of the embeddings", _STRUCTURE, [remark])


def _quantities(
    inputs: Inputs, protocol: str, title: str, quantities: Sequence[tuple], remarks: Sequence[str] = ()
) -> tuple[Document, pd.DataFrame]:
    sections, grids = [], []
    for group, values, missing in inputs.groups([protocol]):
        datasets = in_order([*values.dataset, *missing.dataset], DATASETS)
        for dataset in datasets:
            rows = [Row(protocol, dataset, *each) for each in quantities]
            grid = Grid(group, values, missing, rows, inputs.paper)
            grids.append(grid)
            suffix = f", {dataset}" if len(datasets) > 1 else ""
            sections.append(grid.section(inputs.title(group) + suffix, "Quantity"))
    return _document(title, sections, [SPREAD, *remarks, RULE], grids), _long(inputs, [protocol], grids)


def ablation(inputs: Inputs) -> tuple[Document, pd.DataFrame]:
    """The four objectives side by side, in what the paper judges them by."""
    sections, grids = [], []
    for group, values, missing in inputs.groups((*PROTOCOLS, "train")):
        rows = list(_ablation_rows(values, missing))
        grid = Grid(group, values, missing, rows, inputs.paper, objectives=list(OBJECTIVES))
        grids.append(grid)
        sections.append(grid.section(inputs.title(group), "Quantity"))
    remark = "Means over the sets: of the seeds that have all of them. 1 − p: see the table of claims."
    return (
        _document("The four objectives", sections, [SPREAD, remark, RULE], grids),
        _long(inputs, [], grids),
    )


def _ablation_rows(values: pd.DataFrame, missing: pd.DataFrame) -> Iterator[Row]:
    known = pd.concat([values[["protocol", "dataset"]], missing[["protocol", "dataset"]]])
    for protocol, name in (("zeroshot", "Zero-shot"), ("linear_probe", "Linear probe")):
        datasets = set(known[known.protocol == protocol].dataset)
        if datasets:
            yield Row(protocol, MEAN, ACCURACY, f"{name}, mean (%)", 100)
        if "imagenet" in datasets:
            yield Row(protocol, "imagenet", ACCURACY, f"{name}, ImageNet (%)", 100)
    for protocol, quantities in (
        ("retrieval", [each for each in _RECALLS if each[0].endswith("r1")]),
        ("embedding_structure", [*_EIGENVALUES, *_AJNE]),
    ):
        for dataset in in_order(known[known.protocol == protocol].dataset, DATASETS):
            yield from (Row(protocol, dataset, *each) for each in quantities)
    yield Row("train", "", SATURATION, "1 − p, held-out pairs", 1, 3, 0)


def _document(title: str, sections: list[Section], remarks: list[Prose], grids: list[Grid]) -> Document:
    beside = any(grid.published(row, one) for grid in grids for row in grid.rows for one in grid.columns())
    return Document(title, sections, [*remarks, RELEASED if beside else UNPUBLISHED])


def _long(inputs: Inputs, protocols: Sequence[str], grids: Sequence[Grid]) -> pd.DataFrame:
    """Every value of every run, what is missing, and what the table says over the seeds."""
    values = inputs.values[inputs.values.protocol.isin(protocols)]
    measured = sorted_rows(values[COLUMNS]).assign(statistic=MEASURED)
    found: list[dict[str, Any]] = measured.astype(object).to_dict("records")
    for grid in grids:
        found += grid.long()
    for row in inputs.missing[inputs.missing.protocol.isin(protocols)].itertuples():
        gap = {key: getattr(row, key) for key in COLUMNS if hasattr(row, key)}
        found.append(gap | {"metric": "", "value": None, "chance": None, "statistic": "missing"})
    return pd.DataFrame(found, columns=[*COLUMNS, "statistic"]).astype(object)
