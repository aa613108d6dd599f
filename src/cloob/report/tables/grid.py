"""A grid of metrics × objectives with paired comparisons and the paper's numbers, as in most tables."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import pandas as pd

from cloob.report.load.paper import Paper, Published
from cloob.report.load.result_set import GROUP
from cloob.report.names import CLIP, CLOOB, OBJECTIVE_TITLES, ordered
from cloob.report.stats.significance import LEVEL, Comparison, compare, holm

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
    better: int = 1  # 1: higher is better, -1: lower is better, 0: neither


@dataclass(frozen=True)
class Grid:
    """The values of a group (corpus, architecture, recipe, epoch): a row per metric, a column per objective.

    `values` has a row per objective, seed, protocol, dataset and metric, `missing` a row per expected result
    that does not exist. `means` are rows with the mean over the test sets of their protocol.
    """

    group: tuple[Any, ...]
    values: pd.DataFrame
    missing: pd.DataFrame
    rows: Sequence[Row]
    paper: Paper | None
    means: Sequence[Row] = ()
    objectives: Sequence[str] = ()

    @property
    def all_rows(self) -> list[Row]:
        """The rows and the means."""
        return [*self.rows, *self.means]

    @property
    def has_family(self) -> bool:
        """Whether the rows are a family of tests (test sets): other metrics are hypotheses of their own."""
        return bool(self.means) and len(self.rows) > 1

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
        corpus, architecture, _, epoch = self.group
        cell = (objective, int(epoch), row.protocol, row.dataset, row.metric)
        return self.paper.find(corpus, architecture, *cell)

    def has_published(self) -> bool:
        """Whether the paper has a number for any cell."""
        return any(self.published(row, objective) for row in self.rows for objective in self.columns())

    def comparison(self, row: Row) -> Comparison:
        """CLOOB compared with CLIP, paired by seed."""
        block = self.block(row)
        if not {CLOOB, CLIP} <= set(block.columns):
            return Comparison(0)
        return compare(block[CLOOB], block[CLIP], row.better or 1)

    def corrected_p_values(self) -> list[float | None]:
        """The p-values of the rows after Holm's correction, and None for the means."""
        return [*holm([self.comparison(row).p for row in self.rows]), *[None] * len(self.means)]

    def best(self, row: Row) -> str | None:
        """The objective to print bold: the best mean, if it is significantly better than the second best."""
        block = self.block(row)
        means = (row.better * block.mean()).dropna().sort_values(ascending=False, kind="stable")
        if row.better == 0 or len(means) < 2:
            return None
        best, second = means.index[:2]
        p = compare(block[best], block[second], row.better).p
        return best if p is not None and p <= LEVEL else None

    def aggregates(self) -> list[dict[str, Any]]:
        """The statistics over seeds for the long CSV: group, objective, dataset, metric, statistic, value."""
        records = []
        for row, p_holm in zip(self.all_rows, self.corrected_p_values(), strict=True):
            for objective in self.columns():
                record = dict(zip(GROUP, self.group, strict=True)) | {"objective": objective, "seed": ""}
                record |= {"dataset": row.dataset, "metric": row.metric}
                records += [
                    record | {"statistic": statistic, "value": value}
                    for statistic, value in self._statistics(row, objective, p_holm).items()
                    if value is not None
                ]
        return records

    def _statistics(self, row: Row, objective: str, p_holm: float | None) -> dict[str, float | None]:
        unscaled = replace(row, scale=1)
        values = self.block(unscaled)[objective].dropna()
        statistics: dict[str, float | None] = {"seeds": len(values)}
        if len(values):
            statistics["mean"] = values.mean()
        if len(values) > 1:
            statistics["std"] = values.std(ddof=1)
        if published := self.published(row, objective):
            statistics["published"] = published.mean / row.scale
            statistics["published_std"] = None if published.std is None else published.std / row.scale
            if len(values):
                within = published.contains(row.scale * values.mean())
                statistics["difference"] = values.mean() - published.mean / row.scale
                statistics["within_deviation"] = None if within is None else int(within)
        if objective == CLOOB and (comparison := self.comparison(unscaled)).pairs:
            prefix = f"minus_{CLIP}"
            statistics |= {
                prefix: comparison.effect,
                f"{prefix}_low": comparison.low,
                f"{prefix}_high": comparison.high,
                f"{prefix}_pairs": comparison.pairs,
                f"{prefix}_p": comparison.p if row.better else None,
                f"{prefix}_p_holm": p_holm if row.better and self.means else None,
            }
        return statistics
