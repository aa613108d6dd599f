"""What the claims table shows, in a line per section: the verdicts, and the paper's main claim."""

from collections import Counter
from collections.abc import Sequence

from cloob.report.names import CLIP, CLOOB, OBJECTIVE_TITLES
from cloob.report.render.numbers import interval, number
from cloob.report.tables.verdicts import CONTRADICTED, SUPPORTED, TOO_FEW, UNDECIDED, TestedClaim

MAIN_CLAIM = "zeroshot_overall"
_ORDER = (SUPPORTED, CONTRADICTED, UNDECIDED, TOO_FEW)


def finding(title: str, claims: Sequence[TestedClaim]) -> str:
    """`TITLE: of 17 claims, 3 supported, 2 undecided, … CLOOB − CLIP, mean zero-shot accuracy: …`."""
    counts = Counter(claim.verdict.conclusion for claim in claims)
    verdicts = ", ".join(f"{counts[name]} {name}" for name in _ORDER if counts[name])
    text = f"{title}: of {len(claims)} claims {verdicts}."
    main = [claim for claim in claims if claim.hypothesis.name == MAIN_CLAIM and claim.comparison.pairs]
    if not main:
        return text
    difference = f"{OBJECTIVE_TITLES[CLOOB]} − {OBJECTIVE_TITLES[CLIP]}, mean zero-shot accuracy"
    return f"{text} {difference}: {effect(main[0])} ({main[0].verdict.conclusion})."


def effect(claim: TestedClaim) -> str:
    """`+1.10 points [+0.98, +1.22]`: the mean difference with its interval, or the range of two pairs."""
    comparison, row = claim.comparison, claim.hypothesis.row
    bounds = interval(comparison.low, comparison.high, row.decimals, comparison.kind, signed=True)
    return f"{number(comparison.effect, row.decimals, signed=True)} {row.label}{bounds}"
