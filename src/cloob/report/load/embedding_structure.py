"""Results of the protocol `embedding_structure` for figures: metrics of both towers, the paper's values."""

from typing import Any

import pandas as pd

from cloob.report.load.inputs import Inputs
from cloob.report.load.paper import Paper
from cloob.report.load.result_files import RUN_KEYS, distinct_results, nested

PROTOCOL = "embedding_structure"
TOWERS = ("image", "text")
MEASURED, PUBLISHED = "measured", "published"


def read_tower_metric(inputs: Inputs, metric: str) -> pd.DataFrame:
    """One metric of both towers: the columns of `RUN_KEYS`, epoch, tower, value."""
    rows = [
        [*identity.values(), *row.values()]
        for identity, content in distinct_results(inputs.results, PROTOCOL)
        for row in tower_metric(content, metric)
    ]
    # Undefined metrics (null) become NaN, which is not drawn.
    return pd.DataFrame(rows, columns=[*RUN_KEYS, "epoch", "tower", "value"]).astype({"value": float})


def tower_metric(content: dict[str, Any], metric: str) -> list[dict[str, Any]]:
    """One metric of a result: tower and value of both towers."""
    return [{"tower": tower, "value": nested(content, "metrics", f"{metric}_{tower}")} for tower in TOWERS]


def add_published(measured: pd.DataFrame, inputs: Inputs, figure: str) -> pd.DataFrame:
    """Add the values of one of the paper's figures where the same kind of run was measured.

    Adds a column `source`; published rows have seed 0.
    """
    measured = measured.assign(source=MEASURED)
    if inputs.paper is None:
        return measured
    values = Paper(inputs.paper).figure_values(figure, measured.corpus)
    # One published row per recipe of the same corpus, architecture, objective, epoch and tower.
    keys = ["corpus", "architecture", "objective", "epoch", "tower"]
    runs = measured.drop(columns=["seed", "value", "source"]).drop_duplicates()
    published = runs.merge(values, on=keys).assign(seed=0, source=PUBLISHED)
    return pd.concat([measured, published], ignore_index=True) if len(published) else measured


def relative_increase(metric: pd.DataFrame) -> pd.DataFrame:
    """value(epoch) / value(first epoch) − 1 per run and tower, with the first epoch as column `reference`."""
    in_order = metric.sort_values("epoch", kind="stable")
    first = in_order.groupby([*RUN_KEYS, "tower"])[["epoch", "value"]].transform("first")
    return in_order.assign(value=in_order.value / first.value - 1, reference=first.epoch).sort_index()
