"""OpenAI's subset of YFCC100M: line number, photo id, photo hash; no header, in the metadata's order."""

import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np

from cloob.common.errors import InputError
from cloob.download.corpora.text_lines import blocks

_ENTRY = re.compile(rb"^([0-9]{1,18})\t([0-9]{1,18})\t([0-9a-f]{7,64})\r*$", re.MULTILINE)


@dataclass(frozen=True)
class Entries:
    """Some photos of the subset: their rows there (1-based), and what the rows say; arrays of one length."""

    rows: np.ndarray
    lines: np.ndarray
    photo_ids: np.ndarray
    photo_hashes: np.ndarray

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, chosen: slice | np.ndarray) -> "Entries":
        """Those at some places."""
        return Entries(
            self.rows[chosen], self.lines[chosen], self.photo_ids[chosen], self.photo_hashes[chosen]
        )


class Photo(NamedTuple):
    """What the metadata says about a photo; `title` and `description` as Flickr stored them."""

    photo_id: bytes
    photo_hash: bytes
    title: bytes
    description: bytes
    marker: bytes


def read_subset(path: Path, found: Counter[str]) -> Iterator[Entries]:
    """The entries, some hundred thousand at once; rows that are none are counted as `malformed_row`.

    Rows and lines are int64, ids and hashes bytes. Raises `InputError` where the line numbers do not ascend:
    a merge would lose what comes late.
    """
    first, before = 1, -1
    for block in map(bytes, blocks(path)):
        entries, total = _ENTRY.findall(block), block.count(b"\n")
        rows = np.arange(first, first + total)
        if malformed := total - len(entries):
            found["malformed_row"] += malformed
            well = (_ENTRY.fullmatch(row) is not None for row in block[:-1].split(b"\n"))
            rows = rows[np.fromiter(well, bool, total)]
        first += total
        if not entries:
            continue
        numbers, ids, hashes = zip(*entries, strict=True)
        lines = np.fromiter(map(int, numbers), np.int64, len(entries))
        late = np.flatnonzero(lines <= np.concatenate(([before], lines[:-1])))
        if len(late):
            raise InputError(
                f"{path}: row {rows[late[0]]}: line numbers must ascend; sort the list by its first column"
            )
        before = lines[-1]
        yield Entries(rows, lines, np.array(ids), np.array(hashes))
