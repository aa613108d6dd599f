"""The paper's claims as hypotheses about paired differences, in families that are corrected together."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace

import pandas as pd

from cloob.objectives.registry import OBJECTIVES
from cloob.report.load.result_set import SATURATION
from cloob.report.names import CLIP, CLOOB, DATASETS, OBJECTIVE_TITLES, display_name, ordered
from cloob.report.tables.grid import MEAN, Row

_LOSS_TITLES = {"infonce": "InfoNCE", "infoloob": "InfoLOOB"}
# (loss, Hopfield retrieval) -> objective of the ablation (the first one registered with this combination).
_ABLATION: dict[tuple[str, bool], str] = {}
for _name, _objective in OBJECTIVES.items():
    _ABLATION.setdefault((_objective.loss, _objective.hopfield), _name)
# Family -> its heading, in the order of the claims table. The mean over the test sets is the main claim: a
# family of its own, so that it does not pay for the number of test sets.
FAMILIES = {
    "zeroshot_mean": "Zero-shot accuracy, mean over the test sets",
    "zeroshot": "Zero-shot accuracy on single test sets",
    "linear_probe_mean": "Linear probe, mean over the test sets",
    "linear_probe": "Linear probe on single test sets",
    "ablation": "Ablation: CLOOB without one of its two parts",
    "retrieval": "Image-text retrieval",
    "eigenvalues": "Effective eigenvalues",
    "uniformity": "Uniformity",
    "saturation": "Saturation",
}


@dataclass(frozen=True)
class Hypothesis:
    """`first` is above `second` (sign 1) or below it (-1) in the values of `row`, paired by seed.

    Hypotheses of one `family` (a key of `FAMILIES`) are corrected together after Holm.
    """

    name: str
    family: str
    text: str
    row: Row
    first: str
    second: str
    sign: int = 1

    @property
    def short(self) -> str:
        """`CLOOB > CLIP`."""
        return (
            f"{OBJECTIVE_TITLES[self.first]} {'>' if self.sign > 0 else '<'} {OBJECTIVE_TITLES[self.second]}"
        )


def hypotheses(values: pd.DataFrame, missing: pd.DataFrame) -> list[Hypothesis]:
    """The hypotheses about all available and expected results, by family."""
    order = list(FAMILIES)
    found = sorted(_hypotheses(values, missing), key=lambda hypothesis: order.index(hypothesis.family))
    return _disambiguate(found)


def _hypotheses(values: pd.DataFrame, missing: pd.DataFrame) -> Iterator[Hypothesis]:
    targets = pd.concat([values[["protocol", "dataset"]], missing[["protocol", "dataset"]]])

    def datasets_of(protocol: str) -> list[str]:
        return ordered(targets[targets.protocol == protocol].dataset, DATASETS)

    for protocol, kind in (("zeroshot", "zero-shot"), ("linear_probe", "linear-probe")):
        datasets = datasets_of(protocol)
        if datasets:
            row = Row(protocol, MEAN, "accuracy", "points", 100)
            text = f"CLOOB has a higher {kind} accuracy than CLIP, averaged over the test sets"
            yield Hypothesis(f"{protocol}_overall", f"{protocol}_mean", text, row, CLOOB, CLIP)
        for dataset in datasets if len(datasets) > 1 else []:
            row = Row(protocol, dataset, "accuracy", "points", 100)
            text = f"CLOOB has a higher {kind} accuracy than CLIP on {display_name(dataset, DATASETS)}"
            yield Hypothesis(f"{protocol}_{dataset}", protocol, text, row, CLOOB, CLIP)
    if datasets_of("zeroshot"):
        yield from _ablation_hypotheses()
    for dataset in datasets_of("retrieval"):
        for direction in ("image_to_text", "text_to_image"):
            row = Row("retrieval", dataset, f"{direction}_r1", "points", 100)
            text = f"CLOOB has a higher {direction.replace('_', '-')} R@1 than CLIP on held-out pairs"
            yield Hypothesis(f"retrieval_{direction}", "retrieval", text, row, CLOOB, CLIP)
    for dataset in datasets_of("embedding_structure"):
        yield from _structure_hypotheses(dataset)
    row = Row("train", "", SATURATION, "(1 − p)", 1, 3)
    text = (
        "Hopfield retrieval increases the saturation of InfoNCE: 1 − p of held-out pairs is smaller with it"
    )
    first, second = _ABLATION["infonce", True], _ABLATION["infonce", False]
    yield Hypothesis("saturation", "saturation", text, row, first, second, -1)


def _ablation_hypotheses() -> Iterator[Hypothesis]:
    """Both of CLOOB's parts are needed: InfoLOOB, because InfoNCE saturates, and Hopfield retrieval."""
    row = Row("zeroshot", MEAN, "accuracy", "points", 100)
    for other in (_ABLATION["infonce", True], _ABLATION["infoloob", False]):
        title = OBJECTIVE_TITLES[other]
        text = f"CLOOB has a higher zero-shot accuracy than {title}, averaged over the test sets"
        yield Hypothesis(f"ablation_{other}", "ablation", text, row, CLOOB, other)


def _structure_hypotheses(dataset: str) -> Iterator[Hypothesis]:
    for side in ("image", "text"):
        for loss, title in _LOSS_TITLES.items():
            row = Row("embedding_structure", dataset, f"effective_eigenvalues_{side}", "eigenvalues", 1, 1)
            text = (
                f"With {title}, Hopfield retrieval increases the number of effective eigenvalues of the "
                f"{side} embeddings"
            )
            first, second = _ABLATION[loss, True], _ABLATION[loss, False]
            yield Hypothesis(f"eigenvalues_{loss}_{side}", "eigenvalues", text, row, first, second)
    for side in ("image", "text"):
        for hopfield, name, title in ((False, "plain", "Without"), (True, "hopfield", "With")):
            row = Row("embedding_structure", dataset, f"ajne_{side}", "Ajne statistic", 1, 2)
            text = (
                f"{title} Hopfield retrieval, InfoLOOB's {side} embeddings are more uniform than InfoNCE's: "
                "their Ajne statistic is lower"
            )
            first, second = _ABLATION["infoloob", hopfield], _ABLATION["infonce", hopfield]
            yield Hypothesis(f"uniformity_{name}_{side}", "uniformity", text, row, first, second, -1)


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
