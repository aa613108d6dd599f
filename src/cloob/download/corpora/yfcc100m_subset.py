"""OpenAI's subset of YFCC100M: line number, photo id, photo hash; no header; in the metadata's order."""

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np

from cloob.common.errors import InputError
from cloob.download.corpora.line_reader import read_blocks

_ROW = re.compile(rb"^([0-9]{1,18})\t([0-9]{1,18})\t([0-9a-f]{7,64})\r*$", re.MULTILINE)


@dataclass(frozen=True)
class SubsetRows:
    """Some rows of the subset as arrays of equal length: `rows` are row numbers in the list, from 1."""

    rows: np.ndarray
    line_numbers: np.ndarray
    photo_ids: np.ndarray
    photo_hashes: np.ndarray

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: slice | np.ndarray | Sequence[int] | Sequence[bool]) -> "SubsetRows":
        return SubsetRows(
            self.rows[index], self.line_numbers[index], self.photo_ids[index], self.photo_hashes[index]
        )


class Photo(NamedTuple):
    """A photo's fields in the metadata; `title` and `description` as Flickr stored them."""

    photo_id: bytes
    photo_hash: bytes
    title: bytes
    description: bytes
    marker: bytes


def read_subset(path: Path, counts: Counter[str]) -> Iterator[SubsetRows]:
    """The well-formed rows, in batches of some ten thousand; others are counted as `malformed_row`.

    Row and line numbers are int64, ids and hashes bytes. Raises `InputError` if line numbers do not ascend:
    the merge join would silently drop rows.
    """
    first_row, last_line_number = 1, -1
    for block in map(bytes, read_blocks(path)):
        matches, total = _ROW.findall(block), block.count(b"\n")
        rows = np.arange(first_row, first_row + total)
        if malformed := total - len(matches):
            counts["malformed_row"] += malformed
            well_formed = (_ROW.fullmatch(row) is not None for row in block[:-1].split(b"\n"))
            rows = rows[np.fromiter(well_formed, bool, total)]
        first_row += total
        if not matches:
            continue
        numbers, ids, hashes = zip(*matches, strict=True)
        line_numbers = np.fromiter(map(int, numbers), np.int64, len(matches))
        unsorted = np.flatnonzero(line_numbers <= np.concatenate(([last_line_number], line_numbers[:-1])))
        if len(unsorted):
            raise InputError(
                f"{path}: row {rows[unsorted[0]]}: line numbers must ascend; sort the list "
                "by its first column"
            )
        last_line_number = line_numbers[-1]
        yield SubsetRows(rows, line_numbers, np.array(ids), np.array(hashes))
