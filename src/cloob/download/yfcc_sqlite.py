"""The SQLite dump of YFCC100M's metadata: 23 columns, those of the text form but line number and hash.

So a photo of OpenAI's subset is found by its id, and its hash is checked against the one that follows from
its link.
"""

import sqlite3
from array import array
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import closing
from hashlib import md5
from pathlib import Path

import numpy as np
from tqdm import tqdm

from cloob.download.subset import Entry
from cloob.errors import InputError

_MAGIC = b"SQLite format 3\x00"
_COLUMNS = 23
_PHOTO_ID, _TITLE, _DESCRIPTION, _LINK, _MARKER = 0, 6, 7, 14, 22
_HASH_DIGITS = 64
_ROWS_AT_ONCE = 50_000


def is_sqlite(path: Path) -> bool:
    """Whether a file is an SQLite database, by its first bytes."""
    with path.open("rb") as file:
        return file.read(len(_MAGIC)) == _MAGIC


def hash_of_link(link: str) -> str:
    """The photo's hash: the MD5 of its link, each byte in hexadecimal without a leading zero."""
    return "".join(f"{byte:x}" for byte in md5(link.encode(), usedforsecurity=False).digest())


class Wanted:
    """The subset's photos by their ids, in 80 bytes each: 1.2 GB for 14.8 million."""

    def __init__(self, entries: Iterable[Entry], found: Counter[str]) -> None:
        """Read all entries; those whose photo is listed before are counted as `duplicate_photo`."""
        rows, numbers, ids, hashes = array("q"), array("q"), array("q"), bytearray()
        for entry in entries:
            rows.append(entry.row)
            numbers.append(entry.line)
            ids.append(int(entry.photo_id))
            hashes += entry.photo_hash.ljust(_HASH_DIGITS)
        self.ids, self._order = np.unique(np.frombuffer(ids, dtype=np.int64), return_index=True)
        self._rows, self._numbers, self._hashes = rows, numbers, hashes
        if repeated := len(rows) - len(self.ids):
            found["duplicate_photo"] += repeated
        self._missing = np.ones(len(self.ids), dtype=bool)

    def places(self, photo_ids: list[int]) -> np.ndarray:
        """Where each photo stands among `ids`; -1 for one that is not wanted, or was asked for before."""
        asked = np.asarray(photo_ids, dtype=np.int64)
        place = np.searchsorted(self.ids, asked)
        place[place == len(self.ids)] = 0
        _, first = np.unique(asked, return_index=True)
        again = np.ones(len(asked), dtype=bool)
        again[first] = False
        place[(self.ids[place] != asked) | ~self._missing[place] | again] = -1
        self._missing[place[place >= 0]] = False
        return place

    def entry(self, place: int) -> Entry:
        """The entry at a place of `ids`."""
        at = int(self._order[place])
        photo_hash = bytes(self._hashes[at * _HASH_DIGITS : (at + 1) * _HASH_DIGITS]).rstrip()
        return Entry(self._rows[at], self._numbers[at], str(self.ids[place]).encode(), photo_hash)

    @property
    def missing(self) -> int:
        """How many were not asked for yet."""
        return int(self._missing.sum())


def found_in(database: Path, wanted: Wanted) -> Iterator[tuple[Entry, tuple]]:
    """Entries of the subset with the five facts of their photo: link, marker, title, description, id.

    In the order of the database. Raises `InputError` where it is damaged or has not the dump's columns.
    """
    try:
        with closing(sqlite3.connect(f"file:{database.absolute()}?mode=ro", uri=True)) as connection:
            table, columns = _table(database, connection)
            names = [columns[i] for i in (_PHOTO_ID, _LINK, _MARKER, _TITLE, _DESCRIPTION)]
            selected = ", ".join(f'"{name}"' for name in names)
            connection.text_factory = bytes
            (total,) = connection.execute(f'SELECT max(rowid) FROM "{table}"').fetchone()
            cursor = connection.execute(f'SELECT {selected} FROM "{table}" ORDER BY rowid')
            with tqdm(total=total, unit=" rows", unit_scale=True, desc=database.name, mininterval=1) as bar:
                while rows := cursor.fetchmany(_ROWS_AT_ONCE):
                    bar.update(len(rows))
                    places = wanted.places([_number(row[0]) for row in rows])
                    for at in np.flatnonzero(places >= 0):
                        yield wanted.entry(places[at]), rows[at][1:]
    except sqlite3.Error as error:
        raise InputError(f"{database}: damaged ({error}); get it again") from None


def _number(value: object) -> int:
    try:
        return int(value)  # type: ignore[call-overload]
    except (TypeError, ValueError):
        return -1


def _table(database: Path, connection: sqlite3.Connection) -> tuple[str, list[str]]:
    listed = connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall()
    for (name,) in listed:
        quoted = name.replace('"', '""')
        columns = [row[1] for row in connection.execute(f'PRAGMA table_info("{quoted}")')]
        if len(columns) == _COLUMNS:
            return quoted, [column.replace('"', '""') for column in columns]
    names = ", ".join(name for (name,) in listed) or "none"
    raise InputError(f"{database}: no table of {_COLUMNS} columns (tables: {names}); is it the metadata?")
