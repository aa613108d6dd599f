"""A grid as a section of a document."""

from collections.abc import Sequence

import pandas as pd

from cloob.report.load.paper import Published
from cloob.report.load.targets import brace_paths
from cloob.report.names import CLIP, CLOOB, OBJECTIVE_TITLES
from cloob.report.render.document import Cell, Section
from cloob.report.render.numbers import MISSING, footnote_mark, interval, mean_std, number, probability
from cloob.report.render.text import Code, Prose, code_list
from cloob.report.tables.grid import MEAN, Grid, Row

_PUBLISHED = "published (difference)"
# (objective, footnote mark) -> the (protocol, dataset) of the cells that it belongs to.
_Marks = dict[tuple[str, str], set[tuple[str, str]]]


def grid_section(
    grid: Grid, title: str, first_header: str, chance: dict[str, float] | None = None
) -> Section:
    """Print a grid; `chance` adds a last column with the chance level of each dataset."""
    objectives = grid.columns()
    # The paper's numbers are in extra columns for up to two objectives, and in extra rows for more.
    has_published_rows = len(objectives) > 2
    published_columns = {
        objective
        for objective in objectives
        if not has_published_rows and any(grid.published(row, objective) for row in grid.rows)
    }
    has_comparison = {CLOOB, CLIP} <= set(objectives)
    pairs = [grid.comparison(row).pairs for row in grid.all_rows]
    has_tests = has_comparison and max(pairs, default=0) > 1
    header = [first_header]
    for objective in objectives:
        header.append(OBJECTIVE_TITLES[objective])
        header += [_PUBLISHED] if objective in published_columns else []
    header += [f"{OBJECTIVE_TITLES[CLOOB]} − {OBJECTIVE_TITLES[CLIP]}"] if has_comparison else []
    header += ["95% CI", "p", *(["p (Holm)"] if grid.has_family else [])] if has_tests else []
    header += ["Chance"] if chance else []
    footnotes, marks = _missing_footnotes(grid)
    lines: list[list[Cell | str]] = []
    for row, p_holm in zip(grid.all_rows, grid.corrected_p_values(), strict=True):
        block, best = grid.block(row), grid.best(row)
        line: list[Cell | str] = [row.label]
        for objective in objectives:
            text = mean_std(block[objective], row.decimals)
            line.append(Cell(text, objective == best, _marks_of(marks, objective, row)))
            if objective in published_columns:
                line.append(_published_cell(block[objective], grid.published(row, objective), row))
        comparison = grid.comparison(row)
        line += [number(comparison.effect, row.decimals, signed=True)] if has_comparison else []
        if has_tests:
            line.append(interval(comparison.low, comparison.high, row.decimals))
            line.append(probability(comparison.p if row.better else None))
            line += [probability(p_holm)] if grid.has_family else []
        line += [number(100 * chance[row.dataset])] if chance and row.dataset in chance else []
        lines.append(line + [MISSING] * (len(header) - len(line)))
        if has_published_rows and any(grid.published(row, objective) for objective in objectives):
            cells = [
                _published_cell(block[objective], grid.published(row, objective), row)
                for objective in objectives
            ]
            lines.append([_PUBLISHED, *cells, *[""] * (len(header) - 1 - len(cells))])
    seeds = ", ".join(f"{OBJECTIVE_TITLES[objective]} {grid.seeds(objective)}" for objective in objectives)
    remarks = [f"Seeds: {seeds}."]
    remarks += [_attainable_p(pairs, len(grid.rows) if grid.has_family else 0)] if has_tests else []
    columns = "l" + "r" * (len(header) - 1)
    return Section(title, columns, header, lines, footnotes, len(grid.means), remarks)


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


def _published_cell(values: pd.Series, published: Published | None, row: Row) -> str:
    """`20.33 ± 0.28 (+0.07 in)`: the paper's number, our difference, whether it is within the paper's std."""
    if published is None:
        return MISSING
    text = number(published.mean, published.decimals)
    text += f" ± {published.std:.{published.decimals}f}" if published.std is not None else ""
    values = values.dropna()
    if values.empty:
        return text
    within = {True: " in", False: " out", None: ""}[published.contains(values.mean())]
    return f"{text} ({number(values.mean() - published.mean, row.decimals, signed=True)}{within})"


def _attainable_p(pairs: Sequence[int], family: int) -> str:
    """The smallest p-value that the numbers of pairs allow."""
    most = max(pairs)
    text = f"{most} pairs" if min(pairs) == most else f"{min(pairs)} to {most} pairs"
    text += f": the smallest attainable p is {probability(0.5**most)}"
    corrected = probability(min(1.0, family * 0.5**most))
    return f"{text}, {corrected} after Holm's correction over {family} sets." if family else f"{text}."
