"""What the claims table shows, in a few lines: the verdicts, the paper's main claim, and what was decided."""

from collections import Counter
from collections.abc import Sequence

from cloob.report.names import CLIP, CLOOB, OBJECTIVE_TITLES
from cloob.report.render.numbers import interval, number
from cloob.report.tables.hypotheses import FAMILIES
from cloob.report.tables.verdicts import CONTRADICTED, SUPPORTED, TOO_FEW, UNDECIDED, TestedClaim

_MAIN = "zeroshot_overall"
_ORDER = (SUPPORTED, CONTRADICTED, UNDECIDED, TOO_FEW)


def finding(title: str, claims: Sequence[TestedClaim]) -> str:
    """`TITLE: of 17 claims, 3 supported, 2 undecided, … CLOOB − CLIP, mean zero-shot accuracy: …`."""
    counts = Counter(claim.verdict.conclusion for claim in claims)
    verdicts = ", ".join(f"{counts[name]} {name}" for name in _ORDER if counts[name])
    if set(counts) == {TOO_FEW}:
        verdicts = "none can be decided with so few runs"
    text = f"{title}: of {len(claims)} claims {verdicts}."
    if (main := main_claim(claims)) is None:
        return text
    difference = f"{OBJECTIVE_TITLES[CLOOB]} − {OBJECTIVE_TITLES[CLIP]}, mean zero-shot accuracy"
    return f"{text} {difference}: {effect(main)} ({main.verdict.conclusion})."


def main_claim(claims: Sequence[TestedClaim]) -> TestedClaim | None:
    """The claim about the mean zero-shot accuracy; None without runs of both objectives."""
    found = [claim for claim in claims if claim.hypothesis.name == _MAIN and claim.comparison.pairs]
    return found[0] if found else None


def decided(claims: Sequence[TestedClaim]) -> list[str]:
    """`Supported: Image-text retrieval (1 of 2); Uniformity (4 of 4).`, and the same for contradicted claims.

    The claims are those of all sections.
    """
    lines = []
    for verdict in (SUPPORTED, CONTRADICTED):
        parts = []
        for family, title in FAMILIES.items():
            verdicts = [claim.verdict.conclusion for claim in claims if claim.hypothesis.family == family]
            if verdict in verdicts:
                parts.append(f"{title} ({verdicts.count(verdict)} of {len(verdicts)})")
        lines.append(f"{verdict.capitalize()}: {'; '.join(parts) or 'none'}.")
    return lines


def effect(claim: TestedClaim) -> str:
    """`+1.10 points [+0.98, +1.22]`: the mean difference with its interval, or the range of two pairs."""
    comparison, row = claim.comparison, claim.hypothesis.row
    bounds = interval(comparison.low, comparison.high, row.decimals, comparison.kind, signed=True)
    return f"{number(comparison.effect, row.decimals, signed=True)} {row.label}{bounds}"
