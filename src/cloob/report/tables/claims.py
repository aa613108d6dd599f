"""The claims of the paper as falsifiable hypotheses: effect, confidence interval, p-value and verdict."""

from collections.abc import Sequence
from typing import Any

import pandas as pd

from cloob.objectives.registry import OBJECTIVES
from cloob.report.load.inputs import Inputs
from cloob.report.load.result_set import GROUP, PROTOCOLS, load_results
from cloob.report.load.targets import brace_paths
from cloob.report.names import OBJECTIVE_TITLES
from cloob.report.registry import Entry
from cloob.report.render.document import Cell, Document, Section
from cloob.report.render.numbers import MISSING, footnote_mark, interval, number, probability
from cloob.report.render.text import Code, Prose, code_list
from cloob.report.stats.significance import LEVEL, Comparison, compare
from cloob.report.tables.grid import MEAN, Grid
from cloob.report.tables.grid_section import not_in_grid
from cloob.report.tables.hypotheses import SUPPORTED, TOO_FEW, Hypothesis, Verdict, hypotheses, judge

TABLE = Entry(
    category="Claims",
    help="the claims of the paper and their verdicts",
    caption="Every claim of the paper as a falsifiable hypothesis, with effect size, 95% confidence "
    "interval, p-value and verdict.",
    inputs=("zeroshot", "linear_probe", "retrieval", "embedding_structure", "logs", "paper"),
)
_COLUMNS = [
    *GROUP,
    *("claim", "hypothesis", "protocol", "dataset", "metric", "first", "second", "expected", "unit"),
    *("pairs", "effect", "low", "high", "p", "p_corrected", "min_attainable_p_corrected", "verdict"),
]
_HEADER = ["Claim", "Effect", "95% CI", "Pairs", "p", "Min. p", "Verdict"]
_REMARKS = [
    "Effect: mean difference of the two objectives, paired by seed, with its unit in parentheses; 95% CI: "
    "percentile bootstrap over pairs; p: one-sided Wilcoxon signed-rank test, exact, with Holm's correction "
    "over the test sets for claims about single test sets.",
    f"Verdict: `{TOO_FEW}` if the smallest p that this number of pairs can attain (Min. p, with the same "
    f"correction) is above {LEVEL}; otherwise `supported` if p ≤ {LEVEL}, else `not supported`. Not "
    "supported does not mean refuted.",
]


def build(inputs: Inputs) -> tuple[Document, pd.DataFrame]:
    """A section per corpus, architecture and epoch that has or expects a result, a row per hypothesis."""
    results = load_results(inputs)
    sections, records = [], []
    for group, values, missing in results.groups((*PROTOCOLS, "train")):
        grid = Grid(group, values, missing, [], None, objectives=list(OBJECTIVES))
        tested = hypotheses(values, missing)
        comparisons = [_compare(grid, hypothesis) for hypothesis in tested]
        verdicts = judge(tested, comparisons)
        records += [
            dict(zip(GROUP, group, strict=True)) | _record(*row)
            for row in zip(tested, comparisons, verdicts, strict=True)
        ]
        sections.append(_section(results.title(group), grid, tested, comparisons, verdicts))
    return Document("The claims of the paper", sections, _REMARKS), pd.DataFrame(records, columns=_COLUMNS)


def _compare(grid: Grid, hypothesis: Hypothesis) -> Comparison:
    block = grid.block(hypothesis.row)
    return compare(block[hypothesis.first], block[hypothesis.second], hypothesis.sign)


def _record(hypothesis: Hypothesis, comparison: Comparison, verdict: Verdict) -> dict[str, Any]:
    return {
        "claim": hypothesis.name,
        "hypothesis": hypothesis.text,
        "protocol": hypothesis.row.protocol,
        "dataset": hypothesis.row.dataset,
        "metric": hypothesis.row.metric,
        "first": hypothesis.first,
        "second": hypothesis.second,
        "expected": "above" if hypothesis.sign > 0 else "below",
        "unit": hypothesis.row.label,
        "pairs": comparison.pairs,
        "effect": comparison.effect,
        "low": comparison.low,
        "high": comparison.high,
        "p": comparison.p,
        "p_corrected": verdict.p,
        "min_attainable_p_corrected": verdict.min_attainable_p,
        "verdict": verdict.conclusion,
    }


def _section(
    title: str,
    grid: Grid,
    tested: Sequence[Hypothesis],
    comparisons: Sequence[Comparison],
    verdicts: Sequence[Verdict],
) -> Section:
    footnotes: dict[str, Prose] = {}
    lines: list[list[Cell | str]] = []
    for hypothesis, comparison, verdict in zip(tested, comparisons, verdicts, strict=True):
        decimals = hypothesis.row.decimals
        effect = number(comparison.effect, decimals, signed=True)
        lines.append(
            [
                hypothesis.text,
                f"{effect} ({hypothesis.row.label})" if comparison.pairs else MISSING,
                interval(comparison.low, comparison.high, decimals),
                f"{comparison.pairs}",
                probability(verdict.p),
                probability(verdict.min_attainable_p),
                Cell(
                    verdict.conclusion,
                    verdict.conclusion == SUPPORTED,
                    _footnote(_missing(grid, hypothesis), footnotes),
                ),
            ]
        )
    return Section(title, ["p{0.42\\linewidth}", *"rrrrrl"], _HEADER, lines, footnotes)


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
