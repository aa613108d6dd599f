"""Row accounting: the outcomes of every stage of a split, and the check that they balance."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import pandas as pd

from cloob.common.accounting import KEPT
from cloob.common.errors import InputError, raise_if_io_error


@dataclass(frozen=True)
class StageOutcomes:
    """The outcomes of one stage of one split."""

    corpus: str
    split: str
    stage: str
    path: Path
    kept: int
    rejected: dict[str, int]  # reason -> rows

    @property
    def total(self) -> int:
        """The number of input rows."""
        return self.kept + sum(self.rejected.values())


@dataclass(frozen=True)
class Source:
    """What the rows of a split come from, in words."""

    name: str
    rows: str


_URL_LIST = Source("URL list", "rows of the URL list")
_ON_DISK = Source("samples on disk", "samples on disk")


def source_of(stages: Sequence[StageOutcomes]) -> Source:
    """A URL list, unless packing is the first stage: files on disk are not downloaded."""
    return _ON_DISK if stages[0].stage == "shards" else _URL_LIST


def read_splits(outcomes: Sequence[tuple[str, Path]]) -> dict[tuple[str, str], list[StageOutcomes]]:
    """(corpus, split) -> its stages in the given order.

    `outcomes` are `corpus/split/stage` names with their files. Raises `InputError` for a damaged file, or if
    a stage did not receive the rows that the previous one kept.
    """
    splits: dict[tuple[str, str], list[StageOutcomes]] = {}
    for name, path in outcomes:
        stage = _read_stage(name, path)
        splits.setdefault((stage.corpus, stage.split), []).append(stage)
    for stages in splits.values():
        _check_balance(stages)
    return splits


def _read_stage(name: str, path: Path) -> StageOutcomes:
    """Read one outcome CSV (columns outcome,rows; the first outcome is `kept`). Raises `InputError`."""
    parts = name.split("/")
    if len(parts) != 3 or not all(parts):
        raise InputError(f"--outcomes {name}={path}: the name is not of the form CORPUS/SPLIT/STAGE")
    try:
        table = pd.read_csv(path, dtype={"outcome": str}, keep_default_na=False)
    except (OSError, ValueError) as error:
        raise_if_io_error(error, path)
        reason = " ".join(str(error).split())
        raise InputError(
            f"{path}: not a readable outcome CSV ({reason}); delete it and run the stage again"
        ) from None
    # A missing, truncated or foreign file must not pass as an empty one.
    if list(table.columns) != ["outcome", "rows"] or table.empty or table.outcome[0] != KEPT:
        raise InputError(
            f"{path}: not an outcome CSV (columns outcome,rows, first outcome `{KEPT}`); delete it and run "
            "the stage again"
        )
    if table.outcome.duplicated().any():
        duplicate = table.outcome[table.outcome.duplicated()].iloc[0]
        raise InputError(f"{path}: outcome {duplicate!r} is listed twice; run the stage again")
    if not pd.api.types.is_integer_dtype(table.rows) or (table.rows < 0).any():
        raise InputError(
            f"{path}: `rows` must be non-negative integers; delete the file and run the stage again"
        )
    counts = dict(zip(table.outcome, map(int, table.rows), strict=True))
    corpus, split, stage = parts
    return StageOutcomes(corpus, split, stage, path, counts.pop(KEPT), counts)


def _check_balance(stages: Sequence[StageOutcomes]) -> None:
    """Every stage must receive what the previous one kept. Raises `InputError` naming both files."""
    names = [stage.stage for stage in stages]
    if len(set(names)) != len(names):
        raise InputError(f"--outcomes: a stage of {stages[0].corpus}/{stages[0].split} is given twice")
    for previous, stage in pairwise(stages):
        if previous.kept != stage.total:
            raise InputError(
                f"{stage.path}: rows do not balance: {stage.total} input rows, but {previous.path} kept "
                f"{previous.kept}; delete the outputs of {stage.stage} and run it again"
            )
