"""What a table is made from: result files and logs, and what of them is not there yet."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import pandas as pd

from cloob.common.errors import InputError
from cloob.report.load.logs import Log, read_log
from cloob.report.load.paper import Paper
from cloob.report.load.results import COLUMNS, read_results
from cloob.report.load.targets import read_targets
from cloob.report.names import ARCHITECTURES, CORPORA, OBJECTIVES, label, ranks
from cloob.report.tables.grid import GROUP

PROTOCOLS = ("zeroshot", "linear_probe", "retrieval", "embedding_structure")
# Of the validation that ends an epoch: how far InfoNCE's gradient has died (small: saturated).
SATURATION = "saturation"


@dataclass(frozen=True)
class Inputs:
    """What a table is made from: the targets that it expects, those of them that are there, and the paper."""

    there: pd.DataFrame  # columns of `targets.TARGET`
    missing: pd.DataFrame
    paper: Paper | None

    @cached_property
    def values(self) -> pd.DataFrame:
        """All results: columns of `results.COLUMNS`, and the protocol."""
        found = []
        for protocol in PROTOCOLS:
            paths = list(self.there[self.there.protocol == protocol].path)
            found.append(read_results(paths, protocol).assign(protocol=protocol))
        rows = [each | {"dataset": "", "chance": None, "protocol": "train"} for each in self._saturations()]
        table = pd.DataFrame(
            [*rows, *(each for table in found for each in table.to_dict("records"))],
            columns=[*COLUMNS, "protocol"],
        )
        return table.astype({"seed": int, "epoch": int, "value": float, "chance": float})

    @cached_property
    def logs(self) -> list[Log]:
        """The logs of training, in the order of the paper."""
        logs = [read_log(path) for path in self.there[self.there.protocol == "train"].path]
        names = [log.run["name"] for log in logs]
        for log in logs:
            if names.count(log.run["name"]) > 1:
                raise InputError(f"{log.path}: the log of {log.run['name']} is given twice; give it once")
        orders = {"corpus": CORPORA, "architecture": ARCHITECTURES, "objective": OBJECTIVES}
        places = {key: ranks([log.run[key] for log in logs], order) for key, order in orders.items()}
        return sorted(
            logs,
            key=lambda log: (
                places["corpus"][log.run["corpus"]],
                places["architecture"][log.run["architecture"]],
                log.run["recipe"],
                places["objective"][log.run["objective"]],
                log.run["seed"],
            ),
        )

    def title(self, group: tuple[Any, ...]) -> str:
        """`Conceptual Captions, RN50, epoch 31`, and the recipe where there are several."""
        corpus, architecture, recipe, epoch = group
        every = pd.concat([self.there, self.missing])
        alike = every[(every.corpus == corpus) & (every.architecture == architecture)]
        parts = [label(corpus, CORPORA), architecture, f"epoch {epoch}"]
        return ", ".join([*parts, f"recipe {recipe}"] if alike.recipe.nunique() > 1 else parts)

    def _saturations(self) -> Iterator[dict[str, Any]]:
        for log in self.logs:
            run = {key: log.run[key] for key in ("corpus", "architecture", "objective", "recipe", "seed")}
            for event in log.validations:
                if SATURATION in event:
                    yield run | {
                        "epoch": int(event["epoch"]),
                        "metric": SATURATION,
                        "value": event[SATURATION],
                    }

    def groups(
        self, protocols: Sequence[str]
    ) -> Iterator[tuple[tuple[Any, ...], pd.DataFrame, pd.DataFrame]]:
        """(corpus, architecture, recipe, epoch) with its values and missing targets, in the paper's order.

        Logs (protocol `train`) make no group; their values and gaps join those of their epoch.
        """
        values = self.values[self.values.protocol.isin(protocols)]
        missing = self.missing[self.missing.protocol.isin(protocols)]
        keys = {
            key
            for table in (values, missing)
            for key in table[table.protocol != "train"][GROUP].itertuples(index=False, name=None)
        }
        corpora = ranks([key[0] for key in keys], CORPORA)
        encoders = ranks([key[1] for key in keys], ARCHITECTURES)
        for key in sorted(keys, key=lambda key: (corpora[key[0]], encoders[key[1]], *key[2:])):
            mine = (values[GROUP] == list(key)).all(axis=1)
            lacking = (missing[GROUP[:-1]] == list(key[:-1])).all(axis=1)
            lacking &= missing.epoch.isin([key[-1], -1])
            yield key, values[mine], missing[lacking]


def read_inputs(paths: Sequence[Path], partial: bool, paper: Path | None) -> Inputs:
    """Sort the targets of a table. Raises `InputError` where one is missing, unless `partial`."""
    targets = read_targets(sorted(set(paths)))
    there = targets.path.map(Path.is_file).astype(bool)
    if not (partial or there.all()):
        gone = targets[~there].path.iloc[0]
        raise InputError(
            f"{gone}: no such file; make it, or ask for a table of what is there with --allow-missing"
        )
    return Inputs(targets[there], targets[~there], Paper(paper) if paper else None)
