"""A grid as a section of a document."""

from collections.abc import Mapping, Sequence

from cloob.report.load.targets import brace_paths
from cloob.report.names import CLIP, CLOOB, OBJECTIVE_TITLES
from cloob.report.render.document import Cell, Section
from cloob.report.render.numbers import MISSING, footnote_mark, interval, mean_std, number, probability
from cloob.report.render.text import Code, Prose, code_list
from cloob.report.stats.intervals import INTERVAL, MIN_SEEDS, RANGE
from cloob.report.stats.significance import LEVEL, max_family
from cloob.report.tables.grid import MEAN, Grid, Row

_PUBLISHED = "published (difference)"
# (objective, footnote mark) -> the (protocol, dataset) of the cells that it belongs to.
_Marks = dict[tuple[str, str], set[tuple[str, str]]]


def grid_section(
    grid: Grid,
    title: str,
    first_header: str,
    chance: Mapping[str, float] | None = None,
    verdicts: Mapping[Row, str] | None = None,
    remarks: Sequence[str] = (),
) -> Section:
    """Print a grid; `chance` adds a last column with the chance level of each dataset.

    With `verdicts`, the last column has these instead of the comparison of CLOOB with CLIP.
    """
    objectives = grid.columns()
    # The paper's numbers are in extra columns for up to two objectives, and in extra rows for more.
    has_published_rows = len(objectives) > 2
    published_columns = {
        objective
        for objective in objectives
        if not has_published_rows and any(grid.published(row, objective) for row in grid.rows)
    }
    has_comparison = verdicts is None and {CLOOB, CLIP} <= set(objectives)
    comparisons = [grid.comparison(row) for row in grid.all_rows]
    pairs = max((comparison.differing for comparison in comparisons), default=0)
    kinds = {comparison.kind for comparison in comparisons}
    has_tests = has_comparison and INTERVAL in kinds
    header = [first_header]
    for objective in objectives:
        header.append(OBJECTIVE_TITLES[objective])
        header += [_PUBLISHED] if objective in published_columns else []
    difference = f"{OBJECTIVE_TITLES[CLOOB]} − {OBJECTIVE_TITLES[CLIP]}"
    shown = " [95% CI]" if has_tests else " (range)" if RANGE in kinds else ""
    header += [difference + shown] if has_comparison else []
    header += ["p (two-sided, Holm)"] if has_tests else []
    header += ["Chance"] if chance else []
    header += ["Verdicts"] if verdicts is not None else []
    footnotes, marks = _missing_footnotes(grid)
    corrected = grid.corrected_p_values()
    enough = [comparison.pairs >= MIN_SEEDS for comparison in comparisons]
    lines: list[list[Cell | str]] = []
    for row, is_tested in zip(grid.all_rows, enough, strict=True):
        block, best = grid.block(row), grid.best(row)
        line: list[Cell | str] = [row.label]
        for objective in objectives:
            text = mean_std(block[objective], row.decimals)
            if bounds := grid.single_run_interval(row, objective):
                text += interval(*bounds, row.decimals, INTERVAL)
            line.append(Cell(text, objective in best, _marks_of(marks, objective, row)))
            if objective in published_columns:
                line.append(_published_cell(grid, row, objective))
        line += [_difference(grid, row)] if has_comparison else []
        line += [probability(corrected.get(row) if is_tested else None)] if has_tests else []
        line += [number(100 * chance[row.dataset])] if chance and row.dataset in chance else []
        line += [verdicts.get(row, "")] if verdicts is not None else []
        lines.append(line + [MISSING] * (len(header) - len(line)))
        if has_published_rows and any(grid.published(row, objective) for objective in objectives):
            cells = [_published_cell(grid, row, objective) for objective in objectives]
            lines.append([_PUBLISHED, *cells, *[""] * (len(header) - 1 - len(cells))])
    seeds = ", ".join(f"{OBJECTIVE_TITLES[objective]} {grid.seeds(objective)}" for objective in objectives)
    notes = [f"Seeds: {seeds}.", *remarks]
    notes += [_attainable_p(pairs, max(map(len, grid.families()), default=1))] if has_tests else []
    columns = ["l", *"r" * (len(header) - 1)]
    columns[-1:] = ["p{0.25\\linewidth}"] if verdicts is not None else columns[-1:]
    return Section(title, columns, header, lines, footnotes, len(grid.means), notes)


def decidable(pairs: int, families: Sequence[int]) -> str:
    """What the number of pairs that differ can decide, in families of these sizes."""
    largest, size = max_family(pairs), max(families, default=1)
    text = f"{_pairs_attain(pairs)} p = {probability(0.5**pairs)} at best: "
    claims = f"families of up to {largest} {'claim' if largest == 1 else 'claims'}"
    text += f"they can decide {claims}." if largest else "no claim can be decided."
    if size > largest:
        needed = next(count for count in range(pairs, 64) if max_family(count) >= size)
        text += f" The largest family here has {size}, which need {needed} pairs."
    return text


def _pairs_attain(pairs: int) -> str:
    return (
        "1 pair of seeds that differs attains" if pairs == 1 else f"{pairs} pairs of seeds that differ attain"
    )


def not_in_grid(objective: str) -> Prose:
    """The footnote of an objective that no run of the configuration has."""
    title = OBJECTIVE_TITLES[objective]
    return (f"{title}: no runs in the config; add ", Code(objective), " to ", Code("runs"))


def _missing_footnotes(grid: Grid) -> tuple[dict[str, Prose], _Marks]:
    """Footnotes with the targets to build: one per objective and set of missing seeds."""
    footnotes: dict[str, Prose] = {}
    marks: _Marks = {}
    for objective in grid.columns():
        missing = grid.missing[grid.missing.objective == objective]
        seeds = missing.groupby(["protocol", "dataset"]).seed.agg(lambda values: tuple(sorted(values)))
        for missing_seeds in sorted(set(seeds)):
            cells = set(seeds[seeds == missing_seeds].index)
            in_cells = [cell in cells for cell in zip(missing.protocol, missing.dataset, strict=True)]
            mark = footnote_mark(len(footnotes))
            total = grid.seeds(objective)
            footnotes[mark] = (
                f"{OBJECTIVE_TITLES[objective]}: {len(missing_seeds)} of {total} "
                f"{'seed' if total == 1 else 'seeds'} missing; build ",
                *code_list(brace_paths(missing.path[in_cells])),
            )
            # The mean over test sets has the gaps of each of them.
            marks[objective, mark] = cells | {(protocol, MEAN) for protocol, _ in cells}
        if not len(missing) and not (grid.values.objective == objective).any():
            mark = footnote_mark(len(footnotes))
            footnotes[mark] = not_in_grid(objective)
            marks[objective, mark] = {(row.protocol, row.dataset) for row in grid.all_rows}
    return footnotes, marks


def _marks_of(marks: _Marks, objective: str, row: Row) -> str:
    return ",".join(
        mark
        for (name, mark), cells in marks.items()
        if name == objective and (row.protocol, row.dataset) in cells
    )


def _difference(grid: Grid, row: Row) -> str:
    """`+1.10 [+0.98, +1.22]`: the paired difference with its interval or range."""
    comparison = grid.comparison(row)
    bounds = interval(comparison.low, comparison.high, row.decimals, comparison.kind, signed=True)
    return f"{number(comparison.effect, row.decimals, signed=True)}{bounds}"


def _published_cell(grid: Grid, row: Row, objective: str) -> str:
    """`20.33 ± 0.28 (+0.07, p 0.612)`: the paper's number, our difference, and p of Welch's test."""
    published = grid.published(row, objective)
    if published is None:
        return MISSING
    text = number(published.mean, published.decimals)
    text += f" ± {published.std:.{published.decimals}f}" if published.std is not None else ""
    values = grid.block(row)[objective].dropna()
    if values.empty:
        return text
    p = grid.published_p(row, objective)
    tested = "" if p is None else f", p {probability(p)}"
    return f"{text} ({number(values.mean() - published.mean, row.decimals, signed=True)}{tested})"


def _attainable_p(pairs: int, family: int) -> str:
    """The smallest two-sided p-value that the pairs that differ allow."""
    least = min(1.0, 2 * 0.5**pairs)
    text = f"{_pairs_attain(pairs)} p = {probability(least)} at best, two-sided"
    if family == 1:
        return f"{text}."
    corrected = min(1.0, family * least)
    note = "" if corrected <= LEVEL else ": they cannot decide any single row of it"
    return f"{text}, and {probability(corrected)} after Holm's correction over {family} rows{note}."
