"""OpenAI's subset of YFCC100M: line number, photo id, photo hash; no header, in the metadata's order."""

import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from cloob.download.lines import lines
from cloob.errors import InputError

_ENTRY = re.compile(rb"([0-9]{1,18})\t([0-9]{1,18})\t([0-9a-f]{7,64})")


class Entry(NamedTuple):
    """A photo of the subset: its row there (1-based), and what the row says."""

    row: int
    line: int
    photo_id: bytes
    photo_hash: bytes


def read_subset(path: Path, found: Counter[str]) -> Iterator[Entry]:
    """The entries; rows that are none are counted as `malformed_row`.

    Raises `InputError` where the line numbers do not ascend: a merge would lose what comes late.
    """
    before = -1
    for row, content in enumerate(lines(path), start=1):
        match = _ENTRY.fullmatch(content)
        if not match:
            found["malformed_row"] += 1
            continue
        line = int(match[1])
        if line <= before:
            raise InputError(
                f"{path}: row {row}: line numbers must ascend; sort the list by its first column"
            )
        before = line
        yield Entry(row, line, match[2], match[3])
