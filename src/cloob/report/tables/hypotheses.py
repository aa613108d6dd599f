"""The paper's claims as hypotheses about paired differences, and their verdicts."""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import pandas as pd

from cloob.objectives.registry import OBJECTIVES
from cloob.report.load.result_set import SATURATION
from cloob.report.names import CLIP, CLOOB, DATASETS, display_name, ordered
from cloob.report.stats.significance import LEVEL, Comparison, holm
from cloob.report.tables.grid import MEAN, Row

SUPPORTED, NOT_SUPPORTED, TOO_FEW = "supported", "not supported", "not enough runs"
_LOSS_TITLES = {"infonce": "InfoNCE", "infoloob": "InfoLOOB"}
# (loss, Hopfield retrieval) -> objective of the ablation (the first one registered with this combination).
_ABLATION: dict[tuple[str, bool], str] = {}
for _name, _objective in OBJECTIVES.items():
    _ABLATION.setdefault((_objective.loss, _objective.hopfield), _name)


@dataclass(frozen=True)
class Hypothesis:
    """`first` is above `second` (sign 1) or below it (-1) in the values of `row`, paired by seed.

    Hypotheses of one `family` (one per test set) are corrected together after Holm.
    """

    name: str
    text: str
    row: Row
    first: str
    second: str
    sign: int = 1
    family: str = ""


@dataclass(frozen=True)
class Verdict:
    """The Holm-corrected p-value of a hypothesis, the smallest attainable one, and the conclusion."""

    p: float | None
    min_attainable_p: float
    conclusion: str


def hypotheses(values: pd.DataFrame, missing: pd.DataFrame) -> list[Hypothesis]:
    """The hypotheses about all available and expected results."""
    return _disambiguate(list(_hypotheses(values, missing)))


def judge(tested: Sequence[Hypothesis], comparisons: Sequence[Comparison]) -> list[Verdict]:
    """Correct the p-values within each family, and compare them with the significance level."""
    families: dict[str, list[int]] = {}
    for index, hypothesis in enumerate(tested):
        families.setdefault(hypothesis.family or hypothesis.name, []).append(index)
    verdicts: dict[int, Verdict] = {}
    for indices in families.values():
        corrected = holm([comparisons[index].p for index in indices])
        for index, p in zip(indices, corrected, strict=True):
            attainable = min(1.0, len(indices) * comparisons[index].min_attainable_p)
            if p is None or attainable > LEVEL:
                conclusion = TOO_FEW
            else:
                conclusion = SUPPORTED if p <= LEVEL else NOT_SUPPORTED
            verdicts[index] = Verdict(p, attainable, conclusion)
    return [verdicts[index] for index in range(len(tested))]


def _hypotheses(values: pd.DataFrame, missing: pd.DataFrame) -> Iterator[Hypothesis]:
    targets = pd.concat([values[["protocol", "dataset"]], missing[["protocol", "dataset"]]])

    def datasets_of(protocol: str) -> list[str]:
        return ordered(targets[targets.protocol == protocol].dataset, DATASETS)

    for protocol, kind in (("zeroshot", "zero-shot"), ("linear_probe", "linear-probe")):
        datasets = datasets_of(protocol)
        if datasets:
            row = Row(protocol, MEAN, "accuracy", "points", 100)
            text = f"CLOOB has a higher {kind} accuracy than CLIP, averaged over the test sets"
            yield Hypothesis(f"{protocol}_overall", text, row, CLOOB, CLIP)
        for dataset in datasets if len(datasets) > 1 else []:
            row = Row(protocol, dataset, "accuracy", "points", 100)
            text = f"CLOOB has a higher {kind} accuracy than CLIP on {display_name(dataset, DATASETS)}"
            yield Hypothesis(f"{protocol}_{dataset}", text, row, CLOOB, CLIP, family=protocol)
    for dataset in datasets_of("retrieval"):
        for direction in ("image_to_text", "text_to_image"):
            row = Row("retrieval", dataset, f"{direction}_r1", "points", 100)
            text = f"CLOOB has a higher {direction.replace('_', '-')} R@1 than CLIP on held-out pairs"
            yield Hypothesis(f"retrieval_{direction}", text, row, CLOOB, CLIP)
    for dataset in datasets_of("embedding_structure"):
        yield from _structure_hypotheses(dataset)
    row = Row("train", "", SATURATION, "1 − p", 1, 3)
    text = (
        "Hopfield retrieval increases the saturation of InfoNCE: 1 − p of held-out pairs is smaller with it"
    )
    yield Hypothesis("saturation", text, row, _ABLATION["infonce", True], _ABLATION["infonce", False], -1)


def _structure_hypotheses(dataset: str) -> Iterator[Hypothesis]:
    for side in ("image", "text"):
        for loss, title in _LOSS_TITLES.items():
            row = Row("embedding_structure", dataset, f"effective_eigenvalues_{side}", "eigenvalues", 1, 1)
            text = (
                f"With {title}, Hopfield retrieval increases the number of effective eigenvalues of the "
                f"{side} embeddings"
            )
            first, second = _ABLATION[loss, True], _ABLATION[loss, False]
            yield Hypothesis(f"eigenvalues_{loss}_{side}", text, row, first, second)
    for side in ("image", "text"):
        for hopfield, name, title in ((False, "plain", "Without"), (True, "hopfield", "With")):
            row = Row("embedding_structure", dataset, f"ajne_{side}", "Ajne statistic", 1, 2)
            text = (
                f"{title} Hopfield retrieval, InfoLOOB's {side} embeddings are more uniform than InfoNCE's: "
                "their Ajne statistic is lower"
            )
            first, second = _ABLATION["infoloob", hopfield], _ABLATION["infonce", hopfield]
            yield Hypothesis(f"uniformity_{name}_{side}", text, row, first, second, -1)


def _disambiguate(tested: list[Hypothesis]) -> list[Hypothesis]:
    """Append the dataset to names and texts that several retrieval sets share."""
    counts = Counter(hypothesis.name for hypothesis in tested)
    return [
        replace(
            hypothesis,
            name=f"{hypothesis.name}_{hypothesis.row.dataset}",
            text=f"{hypothesis.text} ({hypothesis.row.dataset})",
        )
        if counts[hypothesis.name] > 1
        else hypothesis
        for hypothesis in tested
    ]
