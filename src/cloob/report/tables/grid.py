"""A grid of metrics × objectives with paired comparisons and the paper's numbers, as in most tables."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import pandas as pd

from cloob.report.load.paper import Paper, Published
from cloob.report.load.result_set import SATURATION, Group
from cloob.report.names import CLIP, CLOOB, OBJECTIVE_TITLES, ordered
from cloob.report.stats.intervals import FRACTION, INTERVAL, RANGE, Bounds, Estimate, estimate
from cloob.report.stats.significance import Comparison, compare, holm, welch_p

MEAN = "mean"  # the `dataset` of a row with the mean over test sets


@dataclass(frozen=True)
class Row:
    """A row of a grid: the selection of its values, and their number format."""

    protocol: str
    dataset: str
    metric: str
    label: str
    scale: float = 1  # printed = scale × value
    decimals: int = 2
    better: int = 1  # 1: higher is better, -1: lower is better, 0: neither (not tested)
    family: str = ""  # rows of one family are corrected together; by default, all of the protocol

    @property
    def bounds(self) -> Bounds | None:
        """The bounds of the values: fractions, which are printed in percent, and the saturation."""
        return FRACTION if self.scale == 100 or self.metric == SATURATION else None


@dataclass(frozen=True)
class Grid:
    """The values of a group (corpus, architecture, recipe, epoch): a row per metric, a column per objective.

    `values` has a row per objective, seed, protocol, dataset and metric, `missing` a row per expected result
    that does not exist. `means` are rows with the mean over the test sets of their protocol.
    """

    group: Group
    values: pd.DataFrame
    missing: pd.DataFrame
    rows: Sequence[Row]
    paper: Paper | None
    means: Sequence[Row] = ()
    objectives: Sequence[str] = ()
    tested: bool = True  # False: without p-values, because the rows of a family are not complete

    @property
    def all_rows(self) -> list[Row]:
        """The rows and the means."""
        return [*self.rows, *self.means]

    def columns(self) -> list[str]:
        """The objectives in order: the requested ones, or all that have or expect a result."""
        names = [*self.values.objective, *self.missing.objective]
        return list(self.objectives) or ordered(names, OBJECTIVE_TITLES)

    def block(self, row: Row) -> pd.DataFrame:
        """The values of a row on the printed scale: seeds × objectives, NaN if there is none."""
        part = self.values[(self.values.protocol == row.protocol) & (self.values.metric == row.metric)]
        if row.dataset == MEAN:
            missing = self.missing[self.missing.protocol == row.protocol].dataset
            datasets = sorted({*part.dataset, *missing})
            wide = part.pivot(index=["seed", "objective"], columns="dataset", values="value")
            # Only over seeds that have all test sets.
            block = wide.reindex(columns=datasets).mean(axis=1, skipna=False).unstack("objective")
        else:
            part = part[part.dataset == row.dataset]
            block = part.pivot(index="seed", columns="objective", values="value")
        return row.scale * block.reindex(columns=self.columns()).astype(float)

    def seeds(self, objective: str) -> int:
        """The number of seeds that are available or expected."""
        seeds = self.values[self.values.objective == objective].seed
        return len({*seeds, *self.missing[self.missing.objective == objective].seed})

    def published(self, row: Row, objective: str) -> Published | None:
        """The paper's number for a cell."""
        if self.paper is None:
            return None
        cell = (objective, self.group.epoch, row.protocol, row.dataset, row.metric)
        return self.paper.find(self.group.corpus, self.group.architecture, *cell)

    def published_p(self, row: Row, objective: str) -> float | None:
        """Welch's p of our runs against the paper's; None unless both are three runs or more."""
        published = self.published(row, objective)
        if published is None:
            return None
        return welch_p(self.block(row)[objective], published.mean, published.std, published.runs)

    def single_run_interval(self, row: Row, objective: str) -> tuple[float, float] | None:
        """The interval of a single run on the printed scale, from seed and test images; None without one."""
        part = self.values[
            (self.values.protocol == row.protocol)
            & (self.values.metric == row.metric)
            & (self.values.dataset == row.dataset)
            & (self.values.objective == objective)
        ]
        if len(part) != 1 or part.low.isna().any():
            return None
        return row.scale * part.low.iloc[0], row.scale * part.high.iloc[0]

    def has_published(self) -> bool:
        """Whether the paper has a number for any cell."""
        return any(self.published(row, objective) for row in self.rows for objective in self.columns())

    def comparison(self, row: Row) -> Comparison:
        """CLOOB compared with CLIP, paired by seed."""
        block = self.block(row)
        if not {CLOOB, CLIP} <= set(block.columns):
            return Comparison(0)
        return compare(block[CLOOB], block[CLIP])

    def families(self) -> list[list[Row]]:
        """The tested rows that are corrected together; a mean over the test sets is its own family."""
        if not self.tested:
            return []
        families: dict[str, list[Row]] = {}
        for row in self.rows:
            if row.better:
                families.setdefault(row.family or row.protocol, []).append(row)
        return [*families.values(), *([row] for row in self.means)]

    def corrected_p_values(self) -> dict[Row, float | None]:
        """The two-sided p-value of every tested row, after Holm's correction over its family."""
        corrected: dict[Row, float | None] = {}
        for rows in self.families():
            p_values = holm([self.comparison(row).p_two_sided for row in rows])
            corrected |= dict(zip(rows, p_values, strict=True))
        return corrected

    def best(self, row: Row) -> set[str]:
        """The objectives to print bold: the best mean of several, as printed. This is not a test."""
        means = self.block(row).mean().dropna().round(row.decimals)
        if row.better == 0 or means.nunique() < 2:
            return set()
        return set(means.index[means == (means.max() if row.better > 0 else means.min())])

    def aggregates(self) -> list[dict[str, Any]]:
        """The statistics over seeds for the long CSV: group, objective, dataset, metric, statistic, value."""
        records = []
        corrected = self.corrected_p_values()
        targets = pd.concat([self.values, self.missing])
        for row in self.all_rows:
            for objective in self.columns():
                recipe = targets[targets.objective == objective].recipe
                record = self.group.identity | {"objective": objective, "seed": ""}
                record |= {"recipe": recipe.iloc[0]} if len(recipe) else {}
                record |= {"dataset": row.dataset, "metric": row.metric}
                records += [
                    record | {"statistic": statistic, "value": value}
                    for statistic, value in self._statistics(row, objective, corrected.get(row)).items()
                    if value is not None
                ]
        return records

    def _statistics(self, row: Row, objective: str, p_holm: float | None) -> dict[str, float | None]:
        unscaled = replace(row, scale=1)
        values = self.block(unscaled)[objective].dropna()
        mean = estimate(values, row.bounds)
        statistics: dict[str, float | None] = {"seeds": len(values)}
        statistics |= {"mean": mean.mean} if len(values) else {}
        statistics |= {"std": values.std(ddof=1)} if len(values) > 1 else {}
        statistics |= _bounds(mean)
        if interval := self.single_run_interval(unscaled, objective):
            statistics |= {"ci_low": interval[0], "ci_high": interval[1]}
        if published := self.published(row, objective):
            statistics["published"] = published.mean / row.scale
            statistics["published_std"] = None if published.std is None else published.std / row.scale
            if len(values):
                statistics["difference"] = values.mean() - published.mean / row.scale
                statistics["difference_p"] = self.published_p(row, objective)
        if objective == CLOOB and (comparison := self.comparison(unscaled)).pairs:
            prefix = f"minus_{CLIP}"
            statistics |= {
                prefix: comparison.effect,
                f"{prefix}_pairs": comparison.pairs,
                f"{prefix}_p": comparison.p_two_sided if self.tested and row.better else None,
                f"{prefix}_p_holm": p_holm,
            }
            statistics |= {f"{prefix}_{name}": value for name, value in _bounds(comparison).items()}
        return statistics


def _bounds(result: Estimate | Comparison) -> dict[str, float | None]:
    """`ci_low` and `ci_high` of a confidence interval, `min` and `max` of a range."""
    names = {INTERVAL: ("ci_low", "ci_high"), RANGE: ("min", "max")}.get(result.kind, ())
    return dict(zip(names, (result.low, result.high), strict=False))
