"""One grid of a table: rows of test sets or quantities, a column per objective, what is published beside."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import pandas as pd

from cloob.report.load.paper import Paper, Published
from cloob.report.load.targets import in_braces, marker
from cloob.report.names import OBJECTIVES, in_order, label
from cloob.report.render.table import MISSING, Cell, Section, number, probability, spread
from cloob.report.render.text import Code, Prose, listed
from cloob.report.stats.significance import LEVEL, Comparison, compare, holm

GROUP = ["corpus", "architecture", "recipe", "epoch"]
OURS, THEIRS = "cloob", "clip"
_PUBLISHED = "published (difference)"
MEAN = "mean"  # the dataset of a row that is the mean over the sets


@dataclass(frozen=True)
class Row:
    """What one row shows: which values, and how they are printed."""

    protocol: str
    dataset: str
    metric: str
    label: str
    scale: float = 1  # printed = scale × value
    decimals: int = 2
    better: int = 1  # 1: more is better, -1: less is, 0: neither


@dataclass(frozen=True)
class Grid:
    """The values and missing targets of one group (corpus, architecture, recipe, epoch), as a table.

    `values` has a row per objective, seed, protocol, dataset and metric; `missing` a row per result that is
    expected and not there. `means` are rows over all the rows of their protocol and metric.
    """

    group: tuple[Any, ...]
    values: pd.DataFrame
    missing: pd.DataFrame
    rows: Sequence[Row]
    paper: Paper | None
    means: Sequence[Row] = ()
    objectives: Sequence[str] = ()

    def columns(self) -> list[str]:
        """The objectives, in order: those asked for, or those that have or expect a result."""
        return list(self.objectives) or in_order(
            [*self.values.objective, *self.missing.objective], OBJECTIVES
        )

    def block(self, row: Row) -> pd.DataFrame:
        """The values of a row, printed scale: seeds × objectives, NaN where there is none."""
        part = self.values[(self.values.protocol == row.protocol) & (self.values.metric == row.metric)]
        if row.dataset == MEAN:
            lacking = self.missing[self.missing.protocol == row.protocol].dataset
            datasets = sorted({*part.dataset, *lacking})
            wide = part.pivot(index=["seed", "objective"], columns="dataset", values="value")
            # Of the seeds that have all of the sets.
            found = wide.reindex(columns=datasets).mean(axis=1, skipna=False).unstack("objective")
        else:
            part = part[part.dataset == row.dataset]
            found = part.pivot(index="seed", columns="objective", values="value")
        return row.scale * found.reindex(columns=self.columns()).astype(float)

    def published(self, row: Row, objective: str) -> Published | None:
        """What the paper reports for a cell."""
        corpus, architecture, _, epoch = self.group
        where = (objective, int(epoch), row.protocol, row.dataset, row.metric)
        return self.paper and self.paper.find(corpus, architecture, *where)

    def comparison(self, row: Row) -> Comparison:
        """CLOOB against CLIP, paired by seed."""
        block = self.block(row)
        if not {OURS, THEIRS} <= set(block.columns):
            return Comparison(0)
        return compare(block[OURS], block[THEIRS], row.better or 1)

    def corrected(self, rows: Sequence[Row]) -> list[float | None]:
        """The p-values of `rows`, a family, after Holm's correction."""
        return holm([self.comparison(row).p for row in rows])

    def best(self, row: Row) -> str | None:
        """The objective to print bold: the best mean, where it is better than the next by the paired test."""
        block = self.block(row)
        means = (row.better * block.mean()).dropna().sort_values(ascending=False, kind="stable")
        if row.better == 0 or len(means) < 2:
            return None
        first, second = means.index[:2]
        p = compare(block[first], block[second], row.better).p
        return first if p is not None and p <= LEVEL else None

    def section(self, title: str, head: str, chance: dict[str, float] | None = None) -> Section:
        """The grid as it is printed; `chance` is a last column, by dataset."""
        columns = self.columns()
        # Beside each of two objectives what is published of it; of more, below them: no page is so wide.
        below = len(columns) > 2
        beside = {one for one in columns if not below and any(self.published(row, one) for row in self.rows)}
        compared = {OURS, THEIRS} <= set(columns)
        pairs = [self.comparison(row).pairs for row in (*self.rows, *self.means)]
        tested = compared and max(pairs, default=0) > 1
        # A family is the sets of one table; quantities are hypotheses of their own.
        family = bool(self.means) and len(self.rows) > 1
        heads = [head]
        for one in columns:
            heads += [label(one, OBJECTIVES)] + ([_PUBLISHED] if one in beside else [])
        heads += [f"{OBJECTIVES[OURS]} − {OBJECTIVES[THEIRS]}"] if compared else []
        heads += ["95 %", "p", *(["p (Holm)"] if family else [])] if tested else []
        heads += ["Chance"] if chance else []
        notes, markers = self._notes()
        corrected = self.corrected(self.rows)
        lines: list[list[Cell | str]] = []
        for place, row in enumerate((*self.rows, *self.means)):
            line: list[Cell | str] = [row.label]
            block, best = self.block(row), self.best(row)
            for one in columns:
                note = ",".join(
                    letter
                    for (objective, letter), cells in markers.items()
                    if objective == one and (row.protocol, row.dataset) in cells
                )
                line.append(Cell(spread(block[one], row.decimals), one == best, note))
                line += [_beside(block[one], self.published(row, one), row)] if one in beside else []
            found = self.comparison(row)
            line += [number(found.effect, row.decimals, signed=True)] if compared else []
            if tested:
                line += [_interval(found, row.decimals), probability(found.p if row.better else None)]
                holms = probability(corrected[place]) if place < len(self.rows) else MISSING
                line += [holms] if family else []
            line += [number(100 * chance[row.dataset])] if chance and row.dataset in chance else []
            lines.append(line + [MISSING] * (len(heads) - len(line)))
            if below and any(self.published(row, one) for one in columns):
                known = [_beside(block[one], self.published(row, one), row) for one in columns]
                lines.append([_PUBLISHED, *known, *[""] * (len(heads) - 1 - len(known))])
        seeds = ", ".join(f"{label(one, OBJECTIVES)} {self._seeds(one)}" for one in columns)
        remarks = [f"Seeds asked for: {seeds}."]
        remarks += [_power(pairs, len(self.rows) if family else 0)] if tested else []
        return Section(title, "l" + "r" * (len(heads) - 1), heads, lines, notes, len(self.means), remarks)

    def _notes(self) -> tuple[dict[str, Prose], dict[tuple[str, str], set[tuple[str, str]]]]:
        """Footnotes of what is missing: marker -> text, and (objective, marker) -> (protocol, dataset)s."""
        notes: dict[str, Prose] = {}
        markers: dict[tuple[str, str], set[tuple[str, str]]] = {}
        for one in self.columns():
            mine = self.missing[self.missing.objective == one]
            seeds = mine.groupby(["protocol", "dataset"]).seed.agg(lambda each: tuple(sorted(each)))
            for lacking in sorted(set(seeds)):
                cells = set(seeds[seeds == lacking].index)
                protocols = {protocol for protocol, _ in cells}
                paths = mine[[each in cells for each in zip(mine.protocol, mine.dataset, strict=True)]].path
                new = marker(len(notes))
                of = self._seeds(one)
                notes[new] = (
                    f"{label(one, OBJECTIVES)}: {len(lacking)} of {of} {'seed' if of == 1 else 'seeds'} "
                    "not there; make ",
                    *listed(in_braces(paths)),
                )
                # A mean over the sets lacks what one of them lacks.
                markers[one, new] = cells | {(protocol, MEAN) for protocol in protocols}
            if not len(mine) and not (self.values.objective == one).any():
                new = marker(len(notes))
                notes[new] = not_in_the_grid(one)
                cells = {(row.protocol, row.dataset) for row in (*self.rows, *self.means)}
                markers[one, new] = cells
        return notes, markers

    def _seeds(self, objective: str) -> int:
        there = self.values[self.values.objective == objective].seed
        return len({*there, *self.missing[self.missing.objective == objective].seed})

    def long(self) -> list[dict[str, Any]]:
        """The numbers over seeds, a row each: the group, objective, dataset, metric, statistic and value."""
        found = []
        corrected = [*self.corrected(self.rows), *[None] * len(self.means)]
        for row, p_holm in zip((*self.rows, *self.means), corrected, strict=True):
            block = self.block(replace(row, scale=1))
            for one in self.columns():
                values = block[one].dropna()
                numbers: dict[str, float | None] = {"seeds": len(values)}
                if len(values):
                    numbers["mean"] = values.mean()
                if len(values) > 1:
                    numbers["std"] = values.std(ddof=1)
                known = self.published(row, one)
                if known:
                    numbers["released"] = known.mean / row.scale
                    numbers["published_std"] = None if known.std is None else known.std / row.scale
                if known and len(values):
                    within = known.holds(row.scale * values.mean())
                    numbers["difference"] = values.mean() - known.mean / row.scale
                    numbers["within_deviation"] = None if within is None else int(within)
                if one == OURS and (compared := self.comparison(replace(row, scale=1))).pairs:
                    against = f"minus_{THEIRS}"
                    numbers |= {
                        against: compared.effect,
                        f"{against}_low": compared.low,
                        f"{against}_high": compared.high,
                        f"{against}_pairs": compared.pairs,
                        f"{against}_p": compared.p if row.better else None,
                        f"{against}_p_holm": p_holm if row.better and self.means else None,
                    }
                where = dict(zip(GROUP, self.group, strict=True)) | {"objective": one, "seed": ""}
                where |= {"dataset": row.dataset, "metric": row.metric}
                found += [
                    where | {"statistic": name, "value": value}
                    for name, value in numbers.items()
                    if value is not None
                ]
        return found


def not_in_the_grid(objective: str) -> Prose:
    """The footnote of an objective that no run of the grid has."""
    name = label(objective, OBJECTIVES)
    return (f"{name}: not in the grid of runs; add ", Code(objective), " to ", Code("runs"), " in the config")


def _beside(values: pd.Series, known: Published | None, row: Row) -> str:
    """`20.33 ± 0.28 (+0.07 in)`."""
    if known is None:
        return MISSING
    text = number(known.mean, known.decimals)
    text += f" ± {known.std:.{known.decimals}f}" if known.std is not None else ""
    values = values.dropna()
    if values.empty:
        return text
    within = {True: " in", False: " out", None: ""}[known.holds(values.mean())]
    return f"{text} ({number(values.mean() - known.mean, row.decimals, signed=True)}{within})"


def _interval(found: Comparison, decimals: int) -> str:
    if found.low is None:
        return MISSING
    return f"{number(found.low, decimals, signed=True)} to {number(found.high, decimals, signed=True)}"


def _power(pairs: Sequence[int], family: int) -> str:
    """What the test could reach with so many pairs."""
    most = max(pairs)
    text = f"{most} pairs" if min(pairs) == most else f"{min(pairs)} to {most} pairs"
    text += f": p can reach {probability(0.5**most)} at best"
    corrected = min(1.0, family * 0.5**most)
    return (
        f"{text}, {probability(corrected)} after Holm's correction over {family} sets."
        if family
        else f"{text}."
    )
