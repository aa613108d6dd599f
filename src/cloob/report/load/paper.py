"""The results that the paper reports (config/paper_results.csv), looked up by the names of this pipeline."""

from collections.abc import Iterable
from dataclasses import astuple, dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from cloob.common.errors import InputError, raise_if_io_error
from cloob.objectives.registry import OBJECTIVES
from cloob.report.names import DATASETS

_COLUMNS = (
    *("table", "pretraining", "architecture", "method", "epoch"),
    *("dataset", "metric", "mean", "std", "runs", "source"),
)
# Which variant of ImageNetV2 the paper evaluates is unknown: its number is compared with all three. A number
# of a known variant, as open_clip's, has the display name, with the variant in parentheses.
_DATASETS = {name: title.partition(" (")[0].replace(" ", "") for name, title in DATASETS.items()}
_DATASETS |= {"flickr30k": "Flickr30k", "coco": "COCO"}
# (protocol, metric) -> the paper's metric, and its dataset if that is not a test set.
_METRICS = {
    ("zeroshot", "accuracy"): ("zeroshot_accuracy_pct", None),
    ("linear_probe", "accuracy"): ("linear_probe_accuracy_pct", None),
    ("embedding_structure", "ajne_image"): ("ajne_score", "image_embeddings"),
    ("embedding_structure", "ajne_text"): ("ajne_score", "text_embeddings"),
    **{
        ("retrieval", f"{direction}_r{k}"): (f"{direction}_r{k}_pct", None)
        for direction in ("image_to_text", "text_to_image")
        for k in (1, 5, 10)
    },
}
# Some columns of the paper's YFCC tables do not name an epoch; they report epoch 28.
_DEFAULT_EPOCH = {"YFCC15M": 28}
# (pretraining, split) -> rows of the URL list, and the pairs that the authors had: for Conceptual Captions
# the images that were online, for YFCC OpenAI's subset.
_CORPUS_SIZES = {
    ("CC3M", "train"): (3_318_333, 2_890_000),
    ("CC3M", "validation"): (15_840, 13_000),
    ("YFCC15M", "train"): (14_829_396, 14_800_000),
}

FINAL = "final"


@dataclass(frozen=True)
class PaperColumn:
    """A column of the paper's tables, by the keys of config/paper_results.csv."""

    pretraining: str
    architecture: str
    method: str
    epoch: int | str
    """An epoch, or `FINAL`: the released weights of a model whose makers name no epoch."""


@dataclass(frozen=True)
class Published:
    """One published number in the paper's units (percent): the mean of `runs` runs.

    `std` is None if the paper gives no standard deviation, `runs` is 1 where it gives no number of runs.
    """

    mean: float
    std: float | None
    decimals: int
    source: str
    runs: int = 1


def read_paper(path: Path) -> pd.DataFrame:
    """The CSV of the paper's results, all columns as text; any line endings, with or without a BOM.

    Raises `InputError` with the line of an invalid number.
    """
    remedy = "save it as CSV in UTF-8, with commas and the columns of config/paper_results.csv"
    try:
        table = pd.read_csv(path, dtype=str, encoding="utf-8-sig")
    except (OSError, ValueError) as error:
        raise_if_io_error(error, path)
        reason = " ".join(str(error).split())
        raise InputError(f"{path}: not the table of the paper's results ({reason}); {remedy}") from None
    if missing := [column for column in _COLUMNS if column not in table]:
        raise InputError(
            f"{path}: not the table of the paper's results (no column {', '.join(missing)}); {remedy}"
        )
    for column, may_be_empty in (("mean", False), ("std", True), ("runs", True)):
        numbers = pd.to_numeric(table[column].where(table[column] != "", None), errors="coerce")
        invalid = ~np.isfinite(numbers) & ~(may_be_empty & table[column].isna())
        if invalid.any():
            line, value = int(invalid.to_numpy().argmax()) + 2, table[column][invalid].iloc[0]
            raise InputError(
                f"{path}, line {line}: not the table of the paper's results ({column} is {value!r}); write a "
                "number such as 2.26"
            )
    return table


def paper_corpus_size(corpus: str, split: str) -> tuple[int, int] | None:
    """Rows of the URL list, and pairs that the authors obtained, of a split; None for other corpora."""
    return _CORPUS_SIZES.get((corpus.upper(), split))


def _pretrainings(corpus: str) -> tuple[str, str]:
    """The paper's names of a corpus; its figures do not name their corpus, so it is inferred."""
    return corpus.upper(), f"{corpus.upper()} (inferred)"


class Paper:
    """Lookup of published numbers. Raises `InputError` if the file has another format."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._table = read_paper(path)
        # Print as many decimals as the paper's table has.
        decimals = self._table["mean"].str.partition(".")[2].str.len()
        decimals = decimals.groupby(self._table["table"]).transform("max")
        self._numbers: dict[tuple[str, ...], Published] = {}
        for row in self._table.assign(decimals=decimals).itertuples():
            epoch = row.epoch if pd.notna(row.epoch) else _DEFAULT_EPOCH.get(row.pretraining, "")
            key = (row.pretraining, row.architecture, row.method, str(epoch), row.dataset, row.metric)
            std = None if pd.isna(row.std) else float(row.std)
            # A column that appears in two tables of the paper has the same numbers in both.
            runs = 1 if pd.isna(row.runs) else int(float(row.runs))
            self._numbers.setdefault(key, Published(float(row.mean), std, row.decimals, row.source, runs))

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
        """The published counterpart of a table cell, or None."""
        for pretraining in _pretrainings(corpus):
            for method in OBJECTIVES[objective].paper_names:
                column = PaperColumn(pretraining, architecture, method, epoch)
                if number := self.number(column, protocol, dataset, metric):
                    return number
        return None

    def number(self, column: PaperColumn, protocol: str, dataset: str, metric: str) -> Published | None:
        """The number in a column of the paper for one of this pipeline's test sets and metrics, or None."""
        paper_metric, paper_dataset = _METRICS.get((protocol, metric), ("", None))
        names = [paper_dataset] if paper_dataset else [known.get(dataset) for known in (DATASETS, _DATASETS)]
        for name in (*names, dataset):
            key = (*map(str, astuple(column)), str(name), paper_metric)
            if name and key in self._numbers:
                return self._numbers[key]
        return None

    def figure_values(self, figure: str, corpora: Iterable[str]) -> pd.DataFrame:
        """The values of one of the paper's figures for these corpora.

        Columns corpus, architecture, objective, epoch, tower, value. Raises `InputError`.
        """
        columns = ["corpus", "architecture", "objective", "epoch", "tower", "value"]
        objectives = {
            paper_name: name for name, entry in OBJECTIVES.items() for paper_name in entry.paper_names
        }
        table = self._table[self._table.table == figure]
        try:
            rows = [
                [
                    corpus,
                    row.architecture,
                    objectives[row.method],
                    int(row.epoch),
                    row.dataset.removesuffix("_embeddings"),
                    float(row.mean),
                ]
                for corpus in dict.fromkeys(corpora)
                for row in table[table.pretraining.isin(_pretrainings(corpus))].itertuples()
            ]
        except (ValueError, AttributeError, KeyError) as error:
            raise InputError(f"{self._path}: not the table of the paper's results ({error!r})") from None
        return pd.DataFrame(rows, columns=columns)
