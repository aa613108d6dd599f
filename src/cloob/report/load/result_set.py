"""The results and logs of a table, available and missing, and the paper's numbers."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import pandas as pd

from cloob.common.errors import InputError
from cloob.report.load.inputs import Inputs
from cloob.report.load.logs import Log, read_timed_log
from cloob.report.load.long_table import COLUMNS, TABLE_COLUMN, read_long_table
from cloob.report.load.paper import Paper
from cloob.report.load.recipes import recipe_differences, recipe_groups
from cloob.report.load.targets import read_targets
from cloob.report.names import ARCHITECTURES, ORDERS, Labels, positions
from cloob.report.stats.single_runs import add_intervals

PROTOCOLS = ("zeroshot", "linear_probe", "retrieval", "embedding_structure")
# A table has a section per group, with these columns in its CSV.
GROUP = ["corpus", "architecture", "recipe", "epoch"]
# Metric of the validation events in logs: mean 1 − p over the validation pairs (small: saturated).
SATURATION = "saturation"


@dataclass(frozen=True)
class Group:
    """The runs that a section of a table compares; several recipes are those of different objectives."""

    corpus: str
    architecture: str
    recipes: tuple[str, ...]
    epoch: int

    @property
    def identity(self) -> dict[str, Any]:
        """The columns of `GROUP`; several recipes are joined by slashes."""
        return dict(
            zip(GROUP, (self.corpus, self.architecture, "/".join(self.recipes), self.epoch), strict=True)
        )


@dataclass(frozen=True)
class ResultSet:
    """The targets of a table, split into available and missing (columns of `targets.COLUMNS`)."""

    available: pd.DataFrame
    missing: pd.DataFrame
    paper: Paper | None
    labels: Labels

    @cached_property
    def values(self) -> pd.DataFrame:
        """All results and saturations: columns of `long_table.COLUMNS`, the protocol, low and high.

        `low` and `high` are the interval of a run without another seed (`stats.single_runs`).
        """
        tables = []
        for protocol in PROTOCOLS:
            paths = list(self.available[self.available.protocol == protocol].path)
            tables.append(read_long_table(paths, protocol).assign(protocol=protocol))
        rows = [row | {"dataset": "", "chance": None, "protocol": "train"} for row in self._saturations()]
        table = pd.DataFrame(
            [*rows, *(row for table in tables for row in table.to_dict("records"))],
            columns=[*COLUMNS, "protocol"],
        )
        numbers = dict.fromkeys(("value", "chance", "image_low", "image_high"), float)
        table = table.astype({"seed": int, "epoch": int} | numbers)
        run = [name for name in TABLE_COLUMN if name != "epoch"]
        return add_intervals(table, run, ["protocol", "dataset", "metric"], ["epoch"])

    @cached_property
    def logs(self) -> list[Log]:
        """The training logs in the paper's order."""
        logs = [read_timed_log(path) for path in self.available[self.available.protocol == "train"].path]
        names = [log.run["name"] for log in logs]
        for log in logs:
            if names.count(log.run["name"]) > 1:
                raise InputError(f"{log.path}: the log of {log.run['name']} is given twice; give it once")
        keys = ("corpus", "architecture", "recipe", "objective")
        ranks = {key: positions((log.run[key] for log in logs), ORDERS.get(key, ())) for key in keys}
        return sorted(logs, key=lambda log: (*(ranks[key][log.run[key]] for key in keys), log.run["seed"]))

    def title(self, group: Group) -> str:
        """`Conceptual Captions, RN50, epoch 31`, and the recipe if there are several groups of recipes."""
        parts = [self.labels.corpus(group.corpus), group.architecture, f"epoch {group.epoch}"]
        groups = self._recipes[group.corpus, group.architecture]
        return ", ".join([*parts, f"recipe {' / '.join(group.recipes)}"] if len(groups) > 1 else parts)

    def recipe_remark(self, group: Group) -> list[str]:
        """The sentences that say how the recipes of the objectives of a group differ."""
        runs = self._runs[_of_runs(self._runs, group)]
        names = runs.groupby("objective").recipe.first().to_dict()
        logs = [log for log in self.logs if log.run["recipe"] in group.recipes]
        logs = [log for log in logs if log.run["corpus"] == group.corpus]
        logs = [log for log in logs if log.run["architecture"] == group.architecture]
        return recipe_differences(names, [(log.run["objective"], log.starts[-1]) for log in logs])

    def groups(self, protocols: Sequence[str]) -> Iterator[tuple[Group, pd.DataFrame, pd.DataFrame]]:
        """Every group with its values and missing targets, in the paper's order.

        Logs (protocol `train`) do not form groups; they are added to the group of their epoch.
        """
        values = self.values[self.values.protocol.isin(protocols)]
        missing = self.missing[self.missing.protocol.isin(protocols)]
        present = pd.concat([values, missing])
        present = present[present.protocol != "train"]
        corpora = positions(present.corpus)
        architectures = positions(present.architecture, ARCHITECTURES)
        kinds = sorted(
            set(zip(present.corpus, present.architecture, strict=True)),
            key=lambda kind: (corpora[kind[0]], architectures[kind[1]]),
        )
        for corpus, architecture in kinds:
            for recipes in self._recipes[corpus, architecture]:
                part = present[_of_runs(present, Group(corpus, architecture, recipes, 0))]
                for epoch in sorted(set(part.epoch)):
                    group = Group(corpus, architecture, recipes, int(epoch))
                    yield (
                        group,
                        values[_of_runs(values, group) & (values.epoch == epoch)],
                        missing[_of_runs(missing, group) & missing.epoch.isin([epoch, -1])],
                    )

    @cached_property
    def _runs(self) -> pd.DataFrame:
        """Corpus, architecture, objective and recipe of the available and missing runs."""
        columns = ["corpus", "architecture", "objective", "recipe"]
        return pd.concat([self.values[columns], self.missing[columns]]).drop_duplicates()

    @cached_property
    def _recipes(self) -> dict[tuple[str, str], list[tuple[str, ...]]]:
        """(corpus, architecture) -> the recipes of each of its groups."""
        return {
            (str(corpus), str(architecture)): recipe_groups(zip(part.objective, part.recipe, strict=True))
            for (corpus, architecture), part in self._runs.groupby(["corpus", "architecture"])
        }

    def _saturations(self) -> Iterator[dict[str, Any]]:
        for log in self.logs:
            for event in log.validations:
                if SATURATION in event:
                    yield log.identity | {
                        "epoch": int(event["epoch"]),
                        "metric": SATURATION,
                        "value": event[SATURATION],
                    }


def _of_runs(table: pd.DataFrame, group: Group) -> pd.Series:
    """Which rows belong to the runs of a group, at any epoch."""
    of_kind = (table.corpus == group.corpus) & (table.architecture == group.architecture)
    return of_kind & table.recipe.isin(group.recipes)


def load_results(inputs: Inputs) -> ResultSet:
    """Identify the targets of a table. Raises `InputError` if one is missing, unless `allow_missing`."""
    targets = read_targets(sorted(set(inputs.results)))
    exists = targets.path.map(Path.is_file).astype(bool)
    if not (inputs.allow_missing or exists.all()):
        path = targets[~exists].path.iloc[0]
        raise InputError(
            f"{path}: no such file; build it, or make the table from the existing files with --allow-missing"
        )
    paper = Paper(inputs.paper) if inputs.paper else None
    return ResultSet(targets[exists], targets[~exists], paper, inputs.labels)
