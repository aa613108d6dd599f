"""Why OpenAI's subset and YFCC100M's metadata have no photo in common: what was found in them, in words."""

from collections import Counter
from contextlib import closing
from pathlib import Path

from cloob.download.corpora.text_lines import lines

_SUBSET_COLUMNS, _METADATA_COLUMNS, _DUMP_COLUMNS = 3, 25, 23


def why_none(metadata: list[Path], subset: Path, sqlite: bool, found: Counter[str]) -> str:
    """What is wrong, by the outcomes of the subset's rows and the first row of either file."""
    listed = _first_row(subset)
    if found["malformed_row"] == found.total():
        reason = f"the subset's rows are `line<TAB>photo id<TAB>hash`, but its first {_shown(listed)}"
        if len(listed) in (_METADATA_COLUMNS, _DUMP_COLUMNS):
            reason += ", as the metadata's have: swap --subset and --metadata"
        return reason
    outcomes = ", ".join(f"{outcome} {rows:,}" for outcome, rows in found.most_common())
    if sqlite:
        return f"{outcomes}; no photo id of the subset (its first is {_field(listed, 1)}) is in the dump"
    described = _first_row(metadata[0])
    if len(described) != _METADATA_COLUMNS:
        reason = f"the metadata has {_METADATA_COLUMNS} columns, but its first row {_shown(described)}"
        if len(described) == _SUBSET_COLUMNS:
            reason += ", as the subset's have: swap --subset and --metadata"
        if len(described) == _DUMP_COLUMNS:
            reason += ", as the dump has, which has no line numbers: give the SQLite file itself"
        return reason
    numbers = (
        f"the subset begins with line {_field(listed, 0)} (photo {_field(listed, 1)}), the metadata with "
        f"line {_field(described, 0)} (photo {_field(described, 1)})"
    )
    if found["photo_id_disagrees"]:
        numbers += ": the line numbers are those of another edition, or shifted"
    return f"{outcomes}; {numbers}"


def _first_row(path: Path) -> list[str]:
    """The columns of the first line that is not blank."""
    with closing(lines(path)) as rows:
        first = next((row for row in rows if row.strip()), b"")
    return first.decode("utf-8", errors="replace").split("\t")


def _field(columns: list[str], number: int) -> str:
    return columns[number][:40] if number < len(columns) else "none"


def _shown(columns: list[str]) -> str:
    count = "1 column" if len(columns) == 1 else f"{len(columns)} columns"
    return f"has {count}: {'<TAB>'.join(columns)[:60]!r}"
