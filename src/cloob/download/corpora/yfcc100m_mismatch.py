"""Explain why OpenAI's subset and YFCC100M's metadata have no photo in common."""

from collections import Counter
from contextlib import closing
from pathlib import Path

from cloob.download.corpora.line_reader import read_lines

_SUBSET_COLUMNS, _METADATA_COLUMNS, _DUMP_COLUMNS = 3, 25, 23


def explain_mismatch(metadata: list[Path], subset: Path, sqlite: bool, counts: Counter[str]) -> str:
    """The probable cause, from the outcomes of the subset's rows and the first row of each file."""
    subset_row = _first_row(subset)
    if counts["malformed_row"] == counts.total():
        reason = f"the subset's rows are `line<TAB>photo id<TAB>hash`, but its first {_describe(subset_row)}"
        if len(subset_row) in (_METADATA_COLUMNS, _DUMP_COLUMNS):
            reason += ", like the metadata: swap --subset and --metadata"
        return reason
    outcomes = ", ".join(f"{outcome} {rows:,}" for outcome, rows in counts.most_common())
    if sqlite:
        return f"{outcomes}; no photo id of the subset (its first is {_field(subset_row, 1)}) is in the dump"
    metadata_row = _first_row(metadata[0])
    if len(metadata_row) != _METADATA_COLUMNS:
        reason = f"the metadata has {_METADATA_COLUMNS} columns, but its first row {_describe(metadata_row)}"
        if len(metadata_row) == _SUBSET_COLUMNS:
            reason += ", like the subset: swap --subset and --metadata"
        if len(metadata_row) == _DUMP_COLUMNS:
            reason += ", like the dump, which has no line numbers: give the SQLite file itself"
        return reason
    numbers = (
        f"the subset starts with line {_field(subset_row, 0)} (photo {_field(subset_row, 1)}), the metadata "
        f"with line {_field(metadata_row, 0)} (photo {_field(metadata_row, 1)})"
    )
    if counts["photo_id_disagrees"]:
        numbers += ": the line numbers belong to another edition or are shifted"
    return f"{outcomes}; {numbers}"


def _first_row(path: Path) -> list[str]:
    """The columns of the first line that is not blank."""
    with closing(read_lines(path)) as rows:
        first = next((row for row in rows if row.strip()), b"")
    return first.decode("utf-8", errors="replace").split("\t")


def _field(columns: list[str], index: int) -> str:
    return columns[index][:40] if index < len(columns) else "none"


def _describe(columns: list[str]) -> str:
    number = "1 column" if len(columns) == 1 else f"{len(columns)} columns"
    return f"has {number}: {'<TAB>'.join(columns)[:60]!r}"
