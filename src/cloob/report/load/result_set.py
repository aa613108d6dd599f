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
from cloob.report.load.long_table import COLUMNS, read_long_table
from cloob.report.load.paper import Paper
from cloob.report.load.targets import read_targets
from cloob.report.names import ARCHITECTURES, ORDERS, Labels, positions

PROTOCOLS = ("zeroshot", "linear_probe", "retrieval", "embedding_structure")
# A table has a section per group.
GROUP = ["corpus", "architecture", "recipe", "epoch"]
# Metric of the validation events in logs: mean 1 − p over the validation pairs (small: saturated).
SATURATION = "saturation"


@dataclass(frozen=True)
class ResultSet:
    """The targets of a table, split into available and missing (columns of `targets.COLUMNS`)."""

    available: pd.DataFrame
    missing: pd.DataFrame
    paper: Paper | None
    labels: Labels

    @cached_property
    def values(self) -> pd.DataFrame:
        """All results and saturations: columns of `long_table.COLUMNS`, and the protocol."""
        tables = []
        for protocol in PROTOCOLS:
            paths = list(self.available[self.available.protocol == protocol].path)
            tables.append(read_long_table(paths, protocol).assign(protocol=protocol))
        rows = [row | {"dataset": "", "chance": None, "protocol": "train"} for row in self._saturations()]
        table = pd.DataFrame(
            [*rows, *(row for table in tables for row in table.to_dict("records"))],
            columns=[*COLUMNS, "protocol"],
        )
        return table.astype({"seed": int, "epoch": int, "value": float, "chance": float})

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

    def title(self, group: tuple[Any, ...]) -> str:
        """`Conceptual Captions, RN50, epoch 31`, and the recipe if there are several."""
        corpus, architecture, recipe, epoch = group
        targets = pd.concat([self.available, self.missing])
        targets = targets[(targets.corpus == corpus) & (targets.architecture == architecture)]
        parts = [self.labels.corpus(corpus), architecture, f"epoch {epoch}"]
        return ", ".join([*parts, f"recipe {recipe}"] if targets.recipe.nunique() > 1 else parts)

    def groups(
        self, protocols: Sequence[str]
    ) -> Iterator[tuple[tuple[Any, ...], pd.DataFrame, pd.DataFrame]]:
        """(corpus, architecture, recipe, epoch) with its values and missing targets, in the paper's order.

        Logs (protocol `train`) do not form groups; they are added to the group of their epoch.
        """
        values = self.values[self.values.protocol.isin(protocols)]
        missing = self.missing[self.missing.protocol.isin(protocols)]
        groups = {
            group
            for table in (values, missing)
            for group in table[table.protocol != "train"][GROUP].itertuples(index=False, name=None)
        }
        corpora = positions(group[0] for group in groups)
        architectures = positions((group[1] for group in groups), ARCHITECTURES)
        for group in sorted(groups, key=lambda key: (corpora[key[0]], architectures[key[1]], *key[2:])):
            in_group = (values[GROUP] == list(group)).all(axis=1)
            missing_in_group = (missing[GROUP[:-1]] == list(group[:-1])).all(axis=1)
            missing_in_group &= missing.epoch.isin([group[-1], -1])
            yield group, values[in_group], missing[missing_in_group]

    def _saturations(self) -> Iterator[dict[str, Any]]:
        for log in self.logs:
            for event in log.validations:
                if SATURATION in event:
                    yield log.identity | {
                        "epoch": int(event["epoch"]),
                        "metric": SATURATION,
                        "value": event[SATURATION],
                    }


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
