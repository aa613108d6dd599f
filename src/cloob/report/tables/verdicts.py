"""Verdicts on the paper's claims."""

from collections.abc import Sequence
from dataclasses import dataclass

from cloob.report.stats.significance import LEVEL, Comparison, compare, holm
from cloob.report.tables.grid import Grid
from cloob.report.tables.hypotheses import Hypothesis, hypotheses

SUPPORTED, CONTRADICTED, UNDECIDED = "supported", "contradicted", "undecided"
TOO_FEW = "not enough runs"


@dataclass(frozen=True)
class Verdict:
    """The conclusion on a hypothesis, with one-sided p-values after Holm's correction.

    `p_for` is of the claim, `p_against` of its opposite (None without pairs), and `min_attainable_p` is the
    smallest that the pairs that differ can attain, if all others of the family attain theirs.
    """

    conclusion: str
    p_for: float | None
    p_against: float | None
    min_attainable_p: float


@dataclass(frozen=True)
class TestedClaim:
    """A hypothesis with its paired comparison, its verdict, and the number of hypotheses in its family."""

    hypothesis: Hypothesis
    comparison: Comparison
    verdict: Verdict
    family_size: int


def tested_claims(grid: Grid) -> list[TestedClaim]:
    """All claims about the runs of a group, by family."""
    tested = hypotheses(grid.values, grid.missing)
    blocks = [grid.block(hypothesis.row) for hypothesis in tested]
    comparisons = [
        compare(block[hypothesis.first], block[hypothesis.second])
        for hypothesis, block in zip(tested, blocks, strict=True)
    ]
    sizes = [sum(other.family == hypothesis.family for other in tested) for hypothesis in tested]
    verdicts = judge(tested, comparisons)
    return [TestedClaim(*row) for row in zip(tested, comparisons, verdicts, sizes, strict=True)]


def judge(tested: Sequence[Hypothesis], comparisons: Sequence[Comparison]) -> list[Verdict]:
    """Correct the p-values within each family, and compare them with the significance level."""
    families: dict[str, list[int]] = {}
    for index, hypothesis in enumerate(tested):
        families.setdefault(hypothesis.family, []).append(index)
    verdicts: dict[int, Verdict] = {}
    for indices in families.values():
        p_for = holm([comparisons[index].p(tested[index].sign) for index in indices])
        p_against = holm([comparisons[index].p(-tested[index].sign) for index in indices])
        smallest = holm([comparisons[index].min_attainable_p for index in indices])
        least = [1.0 if p is None else p for p in smallest]
        for index, p, opposite, attainable in zip(indices, p_for, p_against, least, strict=True):
            verdicts[index] = Verdict(_conclusion(p, opposite, attainable), p, opposite, attainable)
    return [verdicts[index] for index in range(len(tested))]


def _conclusion(p_for: float | None, p_against: float | None, attainable: float) -> str:
    if p_for is None or p_against is None or attainable > LEVEL:
        return TOO_FEW
    if p_for <= LEVEL:
        return SUPPORTED
    return CONTRADICTED if p_against <= LEVEL else UNDECIDED
