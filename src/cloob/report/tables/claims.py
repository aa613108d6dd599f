"""The claims of the paper as falsifiable hypotheses: verdict, effect, confidence interval and p-value."""

from collections.abc import Sequence
from typing import Any

import pandas as pd

from cloob.objectives.registry import OBJECTIVES
from cloob.report.load.inputs import Inputs
from cloob.report.load.recipes import selection_remark
from cloob.report.load.result_set import GROUP, PROTOCOLS, load_results
from cloob.report.load.targets import brace_paths
from cloob.report.names import OBJECTIVE_TITLES
from cloob.report.registry import Entry
from cloob.report.render.document import Cell, Document, Heading, Section
from cloob.report.render.numbers import MISSING, footnote_mark, probability
from cloob.report.render.text import Code, Prose, code_list
from cloob.report.stats.intervals import MIN_SEEDS
from cloob.report.stats.significance import LEVEL
from cloob.report.tables.findings import decided, effect, finding, main_claim
from cloob.report.tables.grid import MEAN, Grid
from cloob.report.tables.grid_section import decidable, not_in_grid
from cloob.report.tables.hypotheses import FAMILIES, Hypothesis
from cloob.report.tables.verdicts import (
    CONTRADICTED,
    SUPPORTED,
    TOO_FEW,
    UNDECIDED,
    TestedClaim,
    tested_claims,
)

TABLE = Entry(
    category="Claims",
    help="the claims of the paper and their verdicts",
    caption="Every claim of the paper as a falsifiable hypothesis, with verdict, effect size, 95% confidence "
    "interval and p-value (one-sided, corrected within its family).",
    inputs=("zeroshot", "linear_probe", "retrieval", "embedding_structure", "logs", "paper"),
)
_COLUMNS = [
    *GROUP,
    *("claim", "family", "family_size", "verdict", "hypothesis", "protocol", "dataset", "metric"),
    *("first", "second", "expected", "unit", "pairs", "differing_pairs", "effect", "low", "high", "interval"),
    *("p_for", "p_against", "p_two_sided", "p_for_holm", "p_against_holm", "min_attainable_p_holm"),
]
_HEADER = ["Verdict", "Claim", "Effect [95% CI]", "p (one-sided, Holm)", "Pairs"]
_REMARKS = [
    f"Verdict: `{SUPPORTED}` if p for the claim is at most {LEVEL}; `{CONTRADICTED}` if p against it is, of "
    f"the same test the other way round; `{TOO_FEW}` if the pairs that differ cannot attain p ≤ {LEVEL}; "
    f"otherwise `{UNDECIDED}`.",
    "p: exact Wilcoxon signed-rank test, one-sided because a claim states a direction; the smaller of p for "
    "and p against the claim, from three pairs on. The headings are families of claims: p is corrected after "
    "Holm for all claims of its family and section. The mean over the test sets is the main claim and a "
    "family of its own.",
    "Effect: mean difference of the two objectives, paired by seed; in brackets its 95% confidence interval "
    "(Student's t), in parentheses the range of two pairs. The CSV has all p-values, also two-sided.",
]


def build(inputs: Inputs) -> tuple[Document, pd.DataFrame]:
    """A section per corpus, architecture and epoch that has or expects a result, a row per hypothesis."""
    results = load_results(inputs)
    sections, records, tested, findings = [], [], [], {}
    for group, values, missing in results.groups((*PROTOCOLS, "train")):
        grid = Grid(group, values, missing, [], None, objectives=list(OBJECTIVES))
        claims = tested_claims(grid)
        tested += claims
        records += [group.identity | _record(claim) for claim in claims]
        title = results.title(group)
        findings[finding(title, claims)] = main_claim(claims) is not None
        remarks = [*results.recipe_remark(group), *selection_remark(group.recipes)]
        sections.append(_section(title, grid, claims, remarks))
    # Epochs without zero-shot results only if there are no others. As tuples, because titles from the
    # configuration may have any characters.
    found = [(text,) for text, has_main in findings.items() if has_main or not any(findings.values())]
    document = Document("The claims of the paper", sections, _REMARKS, [*found, *decided(tested)])
    return document, pd.DataFrame(records, columns=_COLUMNS)


def _record(claim: TestedClaim) -> dict[str, Any]:
    hypothesis, comparison, verdict = claim.hypothesis, claim.comparison, claim.verdict
    return {
        "claim": hypothesis.name,
        "family": hypothesis.family,
        "family_size": claim.family_size,
        "verdict": verdict.conclusion,
        "hypothesis": hypothesis.text,
        "protocol": hypothesis.row.protocol,
        "dataset": hypothesis.row.dataset,
        "metric": hypothesis.row.metric,
        "first": hypothesis.first,
        "second": hypothesis.second,
        "expected": "above" if hypothesis.sign > 0 else "below",
        "unit": hypothesis.row.label,
        "pairs": comparison.pairs,
        "differing_pairs": comparison.differing,
        "effect": comparison.effect,
        "low": comparison.low,
        "high": comparison.high,
        "interval": comparison.kind,
        "p_for": comparison.p(hypothesis.sign),
        "p_against": comparison.p(-hypothesis.sign),
        "p_two_sided": comparison.p_two_sided,
        "p_for_holm": verdict.p_for,
        "p_against_holm": verdict.p_against,
        "min_attainable_p_holm": verdict.min_attainable_p,
    }


def _section(title: str, grid: Grid, claims: Sequence[TestedClaim], recipe_remarks: Sequence[str]) -> Section:
    footnotes: dict[str, Prose] = {}
    lines: list[list[Cell | str] | Heading] = []
    family = ""
    for claim in claims:
        hypothesis, conclusion = claim.hypothesis, claim.verdict.conclusion
        if hypothesis.family != family:
            family = hypothesis.family
            lines.append(Heading(_heading(family, claim.family_size)))
        note = _footnote(_missing(grid, hypothesis), footnotes)
        is_decided = conclusion in (SUPPORTED, CONTRADICTED)
        lines.append(
            [
                Cell(conclusion, is_decided, note),
                hypothesis.text,
                effect(claim) if claim.comparison.pairs else MISSING,
                _p_value(claim),
                f"{claim.comparison.pairs}",
            ]
        )
    pairs = [claim.comparison.differing for claim in claims]
    remarks = [*recipe_remarks, decidable(max(pairs, default=0), [claim.family_size for claim in claims])]
    return Section(title, ["l", "p{0.42\\linewidth}", *"rrr"], _HEADER, lines, footnotes, remarks=remarks)


def _heading(family: str, size: int) -> str:
    return f"{FAMILIES[family]} ({size} claims, corrected together)" if size > 1 else FAMILIES[family]


def _p_value(claim: TestedClaim) -> str:
    """`0.008 for`, or `0.016 against` the claim, whichever is smaller; a dash below three pairs."""
    p_for, p_against = claim.verdict.p_for, claim.verdict.p_against
    if p_for is None or p_against is None or claim.comparison.pairs < MIN_SEEDS:
        return MISSING
    return f"{probability(p_for)} for" if p_for <= p_against else f"{probability(p_against)} against"


def _missing(grid: Grid, hypothesis: Hypothesis) -> list[str]:
    """The results that a hypothesis lacks, as the parts of a footnote."""
    parts: list[str] = []
    row = hypothesis.row
    for objective in (hypothesis.first, hypothesis.second):
        separator = ["; "] if parts else []
        missing = grid.missing[
            (grid.missing.objective == objective) & (grid.missing.protocol == row.protocol)
        ]
        missing = missing if row.dataset == MEAN else missing[missing.dataset == row.dataset]
        title = OBJECTIVE_TITLES[objective]
        if len(missing):
            parts += [*separator, f"{title}: build ", *code_list(brace_paths(missing.path))]
        elif not (grid.values.objective == objective).any():
            parts += [*separator, *not_in_grid(objective)]
        elif not grid.block(row)[objective].notna().any():
            reason = " in its result files (written by an older version); build them again"
            parts += [*separator, f"{title}: no ", Code(row.metric), reason]
    return parts


def _footnote(parts: list[str], footnotes: dict[str, Prose]) -> str:
    """The mark of the footnote with these parts, which is added if it is new; "" without parts."""
    if not parts:
        return ""
    for mark, text in footnotes.items():
        if text == parts:
            return mark
    mark = footnote_mark(len(footnotes))
    footnotes[mark] = parts
    return mark
