"""The paper's published numbers (config/paper_results.csv), looked up by the names of this pipeline."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from cloob.common.errors import InputError, raise_if_io_error
from cloob.objectives.registry import OBJECTIVES
from cloob.report.names import PAPER_DATASETS

_PRETRAINING = {"cc3m": ("CC3M", "CC3M (inferred)"), "yfcc15m": ("YFCC15M",)}
_COLUMNS = (
    *(
        "table",
        "pretraining",
        "architecture",
        "method",
        "epoch",
        "dataset",
        "metric",
        "mean",
        "std",
        "source",
    ),
)
# (protocol, metric) -> the paper's metric, and its dataset where it is not a test set's name.
_METRICS = {
    ("zeroshot", "accuracy"): ("zeroshot_accuracy_pct", None),
    ("linear_probe", "accuracy"): ("linear_probe_accuracy_pct", None),
    ("embedding_structure", "ajne_image"): ("ajne_score", "image_embeddings"),
    ("embedding_structure", "ajne_text"): ("ajne_score", "text_embeddings"),
}
# Some columns of the tables on YFCC name no epoch; 28 is what the paper reports there.
_UNNAMED_EPOCH = {"YFCC15M": 28}


@dataclass(frozen=True)
class Published:
    """One published number, in the paper's units (percent); `std` is None where it gives none."""

    mean: float
    std: float | None
    decimals: int
    source: str

    def holds(self, mean: float) -> bool | None:
        """Whether a measured mean lies within the paper's deviation; None where it gives none."""
        return None if self.std is None else round(abs(mean - self.mean), 9) <= self.std


def read_paper(path: Path) -> pd.DataFrame:
    """The table of the paper's results, all of it text; any line ends, with or without a byte order mark.

    Raises `InputError` with the line of a number that is none.
    """
    remedy = "save it as CSV in UTF-8, with commas and the columns of config/paper_results.csv"
    try:
        table = pd.read_csv(path, dtype=str, encoding="utf-8-sig")
    except (OSError, ValueError) as error:
        raise_if_io_error(error, path)
        reason = " ".join(str(error).split())
        raise InputError(f"{path}: not the table of the paper's results ({reason}); {remedy}") from None
    if lacking := [column for column in _COLUMNS if column not in table]:
        raise InputError(
            f"{path}: not the table of the paper's results (no column {', '.join(lacking)}); {remedy}"
        )
    for column, may_be_empty in (("mean", False), ("std", True)):
        numbers = pd.to_numeric(table[column].where(table[column] != "", None), errors="coerce")
        bad = ~np.isfinite(numbers) & ~(may_be_empty & table[column].isna())
        if bad.any():
            line, value = int(bad.to_numpy().argmax()) + 2, table[column][bad].iloc[0]
            raise InputError(
                f"{path}, line {line}: not the table of the paper's results ({column} is {value!r}); write a "
                "number such as 2.26"
            )
    return table


class Paper:
    """The published numbers. Raises `InputError` for a file that is not the table of them."""

    def __init__(self, path: Path) -> None:
        table = read_paper(path)
        # How many digits a table of the paper gives is how many are shown.
        digits = table["mean"].str.partition(".")[2].str.len().groupby(table["table"]).transform("max")
        self._known: dict[tuple[str, ...], Published] = {}
        for row in table.assign(decimals=digits).itertuples():
            epoch = row.epoch if pd.notna(row.epoch) else _UNNAMED_EPOCH.get(row.pretraining, "")
            key = (row.pretraining, row.architecture, row.method, str(epoch), row.dataset, row.metric)
            std = None if pd.isna(row.std) else float(row.std)
            # A column that stands in two tables of the paper has the same numbers in both.
            self._known.setdefault(key, Published(float(row.mean), std, row.decimals, row.source))

    def find(
        self,
        corpus: str,
        architecture: str,
        objective: str,
        epoch: int,
        protocol: str,
        dataset: str,
        metric: str,
    ) -> Published | None:
        """The published counterpart of a cell, or None."""
        for pretraining in _PRETRAINING.get(corpus, ()):
            for method in OBJECTIVES[objective].paper_names:
                found = self.number(pretraining, architecture, method, epoch, protocol, dataset, metric)
                if found:
                    return found
        return None

    def number(
        self,
        pretraining: str,
        architecture: str,
        method: str,
        epoch: int,
        protocol: str,
        dataset: str,
        metric: str,
    ) -> Published | None:
        """The number in a column of the paper's own names, for a test set and metric of ours, or None."""
        name, thing = _METRICS.get((protocol, metric), ("", None))
        thing = thing or PAPER_DATASETS.get(dataset, dataset)
        return self._known.get((pretraining, architecture, method, str(epoch), thing, name))
