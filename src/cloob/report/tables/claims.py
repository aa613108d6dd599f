"""The claims of the paper as sentences that the runs can prove wrong, each with its verdict."""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import pandas as pd

from cloob.report.load.inputs import PROTOCOLS, SATURATION, Inputs
from cloob.report.load.targets import in_braces, marker
from cloob.report.names import DATASETS, OBJECTIVES, in_order, label
from cloob.report.render.table import MISSING, Cell, Document, Section, number, probability
from cloob.report.render.text import Code, Prose, listed
from cloob.report.stats.significance import LEVEL, Comparison, compare, holm
from cloob.report.tables.grid import GROUP, MEAN, OURS, THEIRS, Grid, Row, not_in_the_grid

SUPPORTED, NOT_SUPPORTED, TOO_FEW = "supported", "not supported", "not enough runs"


@dataclass(frozen=True)
class Claim:
    """`first` lies above `second` (sign 1) or below it (-1) in the values of `row`, paired by seed.

    Claims of one `family` are corrected together (Holm): one claim about each of several test sets.
    """

    name: str
    sentence: str
    row: Row
    first: str
    second: str
    sign: int = 1
    family: str = ""


def claims(inputs: Inputs) -> tuple[Document, pd.DataFrame]:
    """Every claim for every corpus, architecture and epoch that has, or expects, a result."""
    sections, rows = [], []
    for group, values, missing in inputs.groups((*PROTOCOLS, "train")):
        grid = Grid(group, values, missing, [], None, objectives=list(OBJECTIVES))
        stated = _told_apart(list(_claims(values, missing)))
        found = [_compared(grid, claim) for claim in stated]
        verdicts = list(_judged(stated, found))
        rows += [
            dict(zip(GROUP, group, strict=True)) | _record(claim, comparison, verdict)
            for claim, comparison, verdict in zip(stated, found, verdicts, strict=True)
        ]
        sections.append(_section(inputs.title(group), grid, stated, found, verdicts))
    remarks = [
        "Effect: mean of the differences of the two objectives, paired by seed, in the unit in brackets; "
        "interval: 95 %, percentile bootstrap over the pairs; p: one-sided Wilcoxon signed-rank test, exact, "
        "for claims about single test sets after Holm's correction over the sets.",
        f"Verdict: `{TOO_FEW}` where the least p that so many pairs can reach (corrected alike) is "
        f"above {LEVEL}; else `{SUPPORTED}` where p ≤ {LEVEL}, and `{NOT_SUPPORTED}` where it is "
        "not. Not supported here is no proof of the contrary.",
    ]
    long = pd.DataFrame(rows, columns=_COLUMNS)
    return Document("The claims of the paper, checked", sections, remarks), long


def _claims(values: pd.DataFrame, missing: pd.DataFrame) -> Iterator[Claim]:
    """The claims that the given results, and those that are missing, are about."""
    known = pd.concat([values[["protocol", "dataset"]], missing[["protocol", "dataset"]]])
    for protocol, what in (("zeroshot", "zero-shot"), ("linear_probe", "linear-probe")):
        datasets = in_order(known[known.protocol == protocol].dataset, DATASETS)
        if datasets:
            row = Row(protocol, MEAN, "accuracy", "points", 100)
            sentence = f"CLOOB has a higher {what} accuracy than CLIP, in the mean over the test sets"
            yield Claim(f"{protocol}_overall", sentence, row, OURS, THEIRS)
        for dataset in datasets if len(datasets) > 1 else []:
            row = Row(protocol, dataset, "accuracy", "points", 100)
            sentence = f"CLOOB has a higher {what} accuracy than CLIP on {label(dataset, DATASETS)}"
            yield Claim(f"{protocol}_{dataset}", sentence, row, OURS, THEIRS, family=protocol)
    for dataset in in_order(known[known.protocol == "retrieval"].dataset, DATASETS):
        for way in ("image_to_text", "text_to_image"):
            row = Row("retrieval", dataset, f"{way}_r1", "points", 100)
            sentence = f"CLOOB retrieves held-out pairs better than CLIP, {way.replace('_', ' ')} (R@1)"
            yield Claim(f"retrieval_{way}", sentence, row, OURS, THEIRS)
    for dataset in in_order(known[known.protocol == "embedding_structure"].dataset, DATASETS):
        yield from _structure_claims(dataset)
    row = Row("train", "", SATURATION, "1 − p", 1, 3)
    sentence = (
        "With Hopfield retrieval InfoNCE saturates more: 1 − p of held-out pairs is smaller than without"
    )
    yield Claim("saturation", sentence, row, "infonce_hopfield", "clip", -1)


def _structure_claims(dataset: str) -> Iterator[Claim]:
    for side in ("image", "text"):
        for loss, name in (("clip", "InfoNCE"), ("infoloob", "InfoLOOB")):
            row = Row("embedding_structure", dataset, f"effective_eigenvalues_{side}", "eigenvalues", 1, 1)
            sentence = f"With {name}, Hopfield retrieval gives {side} embeddings more effective eigenvalues"
            yield Claim(f"eigenvalues_{loss}_{side}", sentence, row, f"{loss}_hopfield", loss)
    for side in ("image", "text"):
        for retrieval, name in (("", "Without"), ("_hopfield", "With")):
            row = Row("embedding_structure", dataset, f"ajne_{side}", "Ajne's score", 1, 2)
            sentence = (
                f"{name} Hopfield retrieval, InfoLOOB's {side} embeddings are more uniform than InfoNCE's: "
                "their Ajne score is lower"
            )
            kind = "hopfield" if retrieval else "plain"
            yield Claim(
                f"uniformity_{kind}_{side}", sentence, row, f"infoloob{retrieval}", f"clip{retrieval}", -1
            )


def _told_apart(stated: list[Claim]) -> list[Claim]:
    """With the name of their dataset, where several captioned sets are asked the same."""
    often = Counter(claim.name for claim in stated)
    return [
        replace(
            claim,
            name=f"{claim.name}_{claim.row.dataset}",
            sentence=f"{claim.sentence}, on {claim.row.dataset}",
        )
        if often[claim.name] > 1
        else claim
        for claim in stated
    ]


def _compared(grid: Grid, claim: Claim) -> Comparison:
    block = grid.block(claim.row)
    return compare(block[claim.first], block[claim.second], claim.sign)


def _judged(
    stated: Sequence[Claim], found: Sequence[Comparison]
) -> Iterator[tuple[float | None, float | None, str]]:
    """Of each claim its p and the least that it could be, both corrected, and the verdict."""
    families: dict[str, list[int]] = {}
    for place, claim in enumerate(stated):
        families.setdefault(claim.family or claim.name, []).append(place)
    corrected: dict[int, tuple[float | None, float]] = {}
    for places in families.values():
        for place, p in zip(places, holm([found[each].p for each in places]), strict=True):
            corrected[place] = (p, min(1.0, len(places) * found[place].least_p))
    for place in range(len(stated)):
        p, least = corrected[place]
        if p is None or least > LEVEL:
            yield p, least, TOO_FEW
        else:
            yield p, least, SUPPORTED if p <= LEVEL else NOT_SUPPORTED


_COLUMNS = [
    *GROUP,
    "claim",
    "sentence",
    "protocol",
    "dataset",
    "metric",
    "first",
    "second",
    "expected",
    "unit",
    "pairs",
    "effect",
    "low",
    "high",
    "p",
    "p_corrected",
    "least_p_corrected",
    "verdict",
]


def _record(
    claim: Claim, found: Comparison, verdict: tuple[float | None, float | None, str]
) -> dict[str, Any]:
    p, least, word = verdict
    return {
        "claim": claim.name,
        "sentence": claim.sentence,
        "protocol": claim.row.protocol,
        "dataset": claim.row.dataset,
        "metric": claim.row.metric,
        "first": claim.first,
        "second": claim.second,
        "expected": "above" if claim.sign > 0 else "below",
        "unit": claim.row.label,
        "pairs": found.pairs,
        "effect": found.effect,
        "low": found.low,
        "high": found.high,
        "p": found.p,
        "p_corrected": p,
        "least_p_corrected": least,
        "verdict": word,
    }


def _section(
    title: str,
    grid: Grid,
    stated: Sequence[Claim],
    found: Sequence[Comparison],
    verdicts: Sequence[tuple[float | None, float | None, str]],
) -> Section:
    notes: dict[str, Prose] = {}
    lines: list[list[Cell | str]] = []
    for claim, comparison, (p, least, word) in zip(stated, found, verdicts, strict=True):
        digits, interval = claim.row.decimals, MISSING
        if comparison.low is not None:
            low, high = (number(each, digits, signed=True) for each in (comparison.low, comparison.high))
            interval = f"{low} to {high}"
        effect = number(comparison.effect, digits, signed=True)
        lines.append(
            [
                claim.sentence,
                f"{effect} ({claim.row.label})" if comparison.pairs else MISSING,
                interval,
                f"{comparison.pairs}",
                probability(p),
                probability(least),
                Cell(word, word == SUPPORTED, _gap(grid, claim, notes)),
            ]
        )
    head = ["Claim", "Effect", "Interval", "Pairs", "p", "Least p", "Verdict"]
    return Section(title, ["p{0.42\\linewidth}", *"rrrrrl"], head, lines, notes)


def _gap(grid: Grid, claim: Claim, notes: dict[str, Prose]) -> str:
    """The marker of the footnote that says what a claim lacks, made if it is new."""
    parts: list[str] = []
    for one in (claim.first, claim.second):
        mine = grid.missing[(grid.missing.objective == one) & (grid.missing.protocol == claim.row.protocol)]
        mine = mine if claim.row.dataset == MEAN else mine[mine.dataset == claim.row.dataset]
        between = ["; "] if parts else []
        if len(mine):
            parts += [*between, f"{label(one, OBJECTIVES)}: make ", *listed(in_braces(mine.path))]
        elif not grid.block(claim.row)[one].notna().any():
            if not (grid.values.objective == one).any():
                parts += [*between, *not_in_the_grid(one)]
                continue
            lacks = "in its files; they are older than it, make them again"
            parts += [*between, f"{label(one, OBJECTIVES)}: no ", Code(claim.row.metric), f" {lacks}"]
    if not parts:
        return ""
    for known, said in notes.items():
        if said == parts:
            return known
    new = marker(len(notes))
    notes[new] = parts
    return new
