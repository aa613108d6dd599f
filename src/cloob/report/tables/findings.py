"""What was found, in five lines: the main comparison, and the claims by verdict."""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from cloob.report.names import OBJECTIVE_TITLES
from cloob.report.render.numbers import interval, number
from cloob.report.render.text import Prose
from cloob.report.tables.grid import Grid
from cloob.report.tables.hypotheses import FAMILIES
from cloob.report.tables.verdicts import CONTRADICTED, SUPPORTED, TOO_FEW, UNDECIDED, TestedClaim

_MAIN_FAMILY = "zeroshot_mean"


@dataclass(frozen=True)
class SectionClaims:
    """The claims about the runs of one section, and its title."""

    title: str
    grid: Grid
    claims: Sequence[TestedClaim]


def findings(groups: Sequence[SectionClaims]) -> list[Prose]:
    """Five lines on the claims of all sections; none without claims."""
    claims = [claim for group in groups for claim in group.claims]
    if not claims:
        return []
    return [
        _main_comparison(groups),
        f"{_count(len(claims), 'claim')} in {_count(len(groups), 'section')}: {_verdicts(claims)}.",
        f"Supported: {_families(claims, SUPPORTED)}.",
        f"Contradicted: {_families(claims, CONTRADICTED)}.",
        f"Undecided, or not enough runs: {_families(claims, UNDECIDED, TOO_FEW)}.",
    ]


def _main_comparison(groups: Sequence[SectionClaims]) -> Prose:
    """The zero-shot accuracies of the first corpus and architecture at its last epoch, and the verdict."""
    main = [(group, claim) for group in groups for claim in group.claims if _is_main(claim)]
    measured = [(group, claim) for group, claim in main if claim.comparison.pairs]
    if not measured:
        return ("Main comparison: no zero-shot results of both objectives yet.",)
    runs = measured[0][0].grid.group
    group, claim = max(
        (
            (group, claim)
            for group, claim in measured
            if (group.grid.group.corpus, group.grid.group.architecture) == (runs.corpus, runs.architecture)
        ),
        key=lambda item: item[0].grid.group.epoch,
    )
    comparison, hypothesis = claim.comparison, claim.hypothesis
    block = group.grid.block(hypothesis.row)[[hypothesis.first, hypothesis.second]].dropna()
    first, second = (
        f"{OBJECTIVE_TITLES[name]} {number(block[name].mean(), 1)}%"
        for name in (hypothesis.first, hypothesis.second)
    )
    bounds = interval(comparison.low, comparison.high, 1, comparison.kind, signed=True)
    effect = f"{number(comparison.effect, 1, signed=True)} {hypothesis.row.label}{bounds}"
    text = (
        f"Main comparison, zero-shot accuracy averaged over the test sets ({group.title}): {first}, "
        f"{second}; difference {effect}, {_count(comparison.pairs, 'pair')}: {claim.verdict.conclusion}."
    )
    others = [other for _, other in main if other is not claim]
    return (f"{text} The same claim in other sections: {_verdicts(others)}." if others else text,)


def _is_main(claim: TestedClaim) -> bool:
    return claim.hypothesis.family == _MAIN_FAMILY


def _verdicts(claims: Sequence[TestedClaim]) -> str:
    """`3 supported, 1 undecided`."""
    counts = Counter(claim.verdict.conclusion for claim in claims)
    order = (SUPPORTED, CONTRADICTED, UNDECIDED, TOO_FEW)
    return ", ".join(f"{counts[verdict]} {verdict}" for verdict in order if counts[verdict])


def _families(claims: Sequence[TestedClaim], *verdicts: str) -> str:
    """`Retrieval (1 of 2); Uniformity (4 of 4)`: the families with claims of these verdicts."""

    def parts() -> Iterator[str]:
        for family, title in FAMILIES.items():
            of_family = [claim for claim in claims if claim.hypothesis.family == family]
            count = sum(claim.verdict.conclusion in verdicts for claim in of_family)
            if count:
                yield f"{title} ({count} of {len(of_family)})"

    return "; ".join(parts()) or "none"


def _count(number_of: int, noun: str) -> str:
    return f"{number_of} {noun}" if number_of == 1 else f"{number_of} {noun}s"
