"""The SQLite dump of YFCC100M's metadata: 23 columns, those of the text form but line number and hash.

So a photo of OpenAI's subset is found by its id, and its hash is checked against the one that follows from
its link.
"""

import sqlite3
from array import array
from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from hashlib import file_digest, md5
from pathlib import Path

import numpy as np
from tqdm import tqdm

from cloob.common.errors import InputError, io_errors_at, raise_if_io_error
from cloob.download.corpora.yfcc100m_subset import Entries, Photo, read_subset

_MAGIC = b"SQLite format 3\x00"
_COLUMNS = 23
# Of tools/etc/yfcc100m_dataset.sql in the multimedia-commons bucket.
_OFFICIAL_BYTES, _OFFICIAL_MD5 = 65_644_027_904, "b8e3fa7f40ee2f309d63b8de8d755495"
_PHOTO_ID, _TITLE, _DESCRIPTION, _LINK, _MARKER = 0, 6, 7, 14, 22
_ROWS_AT_ONCE = 5_000
_HEXADECIMAL = [f"{byte:x}" for byte in range(256)]
# The longest hash has 32 digits; of a longer one enough is kept to differ from all.
_HASH = np.dtype("S33")


def is_sqlite(path: Path) -> bool:
    """Whether a file is an SQLite database, by its first bytes."""
    with io_errors_at(path), path.open("rb") as file:
        return file.read(len(_MAGIC)) == _MAGIC


def hash_of_link(link: str) -> str:
    """The photo's hash: the MD5 of its link, each byte in hexadecimal without a leading zero."""
    digest = md5(link.encode(), usedforsecurity=False).digest()
    return "".join([_HEXADECIMAL[byte] for byte in digest])


def by_photo_id(
    database: Path, subset: Path, found: Counter[str]
) -> Iterator[tuple[Entries, list[Photo | None]]]:
    """The entries whose photo the dump has, each with it, in the dump's order.

    The others are counted: `duplicate_photo` where an earlier row lists the photo, else `not_in_metadata`.
    Raises `InputError` where the dump is damaged or has not its columns.
    """
    wanted = _Wanted(subset, found)
    for rows in _rows_of(database, wanted.photo_ids):
        places = wanted.places([_number(row[0]) for row in rows])
        asked = np.flatnonzero(places >= 0)
        entries = wanted.entries(places[asked])
        ids = entries.photo_ids.tolist()
        yield entries, [_photo(photo_id, *rows[at][1:]) for photo_id, at in zip(ids, asked, strict=True)]
    found["not_in_metadata"] += wanted.missing


class _Wanted:
    """The subset's photos by their ids, in 74 bytes each: 1.1 GB for 14.8 million, 1.5 while sorted."""

    def __init__(self, subset: Path, found: Counter[str]) -> None:
        # These grow in place, where NumPy's arrays would be copied.
        rows, lines, ids, hashes = array("q"), array("q"), array("q"), bytearray()
        for entries in read_subset(subset, found):
            rows.frombytes(entries.rows.tobytes())
            lines.frombytes(entries.lines.tobytes())
            ids.frombytes(entries.photo_ids.astype(np.int64).tobytes())
            hashes += entries.photo_hashes.astype(_HASH).tobytes()
        self._rows, self._lines = np.frombuffer(rows, np.int64), np.frombuffer(lines, np.int64)
        self._hashes = np.frombuffer(hashes, _HASH)
        self.photo_ids, self._order = np.unique(np.frombuffer(ids, np.int64), return_index=True)
        self._missing = np.ones(len(self.photo_ids), bool)
        found["duplicate_photo"] += len(rows) - len(self.photo_ids)

    def places(self, photo_ids: list[int]) -> np.ndarray:
        """Where each photo stands among `photo_ids`; -1 for one not wanted, or asked for before."""
        asked = np.asarray(photo_ids, np.int64)
        places = np.searchsorted(self.photo_ids, asked)
        places[places == len(self.photo_ids)] = 0
        _, first = np.unique(asked, return_index=True)
        again = np.ones(len(asked), bool)
        again[first] = False
        places[(self.photo_ids[places] != asked) | ~self._missing[places] | again] = -1
        self._missing[places[places >= 0]] = False
        return places

    def entries(self, places: np.ndarray) -> Entries:
        """The entries at some places of `photo_ids`."""
        at = self._order[places]
        ids = self.photo_ids[places].astype(np.bytes_)
        return Entries(self._rows[at], self._lines[at], ids, self._hashes[at])

    @property
    def missing(self) -> int:
        """How many were not asked for yet."""
        return int(self._missing.sum())


def _rows_of(database: Path, photo_ids: np.ndarray) -> Iterator[list[tuple]]:
    """The dump's rows of some photos: id, link, title, description, marker. SQLite leaves the others out."""
    try:
        with closing(sqlite3.connect(f"{database.absolute().as_uri()}?mode=ro", uri=True)) as connection:
            table, columns = _table(database, connection)
            names = [columns[i] for i in (_PHOTO_ID, _LINK, _TITLE, _DESCRIPTION, _MARKER)]
            selected = ", ".join(f'"{name}"' for name in names)
            connection.text_factory = bytes
            connection.execute("PRAGMA temp_store = MEMORY")
            connection.execute("CREATE TEMP TABLE wanted_photos (photo_id INTEGER PRIMARY KEY)")
            each = ((photo_id,) for photo_id in map(int, photo_ids))
            connection.executemany("INSERT INTO wanted_photos VALUES (?)", each)
            first, last = connection.execute(f'SELECT min(rowid), max(rowid) FROM main."{table}"').fetchone()
            cursor = connection.execute(
                f'SELECT {selected}, rowid FROM main."{table}" '
                f'WHERE CAST("{names[0]}" AS INTEGER) IN (SELECT photo_id FROM wanted_photos) ORDER BY rowid'
            )
            total = last - first + 1 if last is not None else 0
            with tqdm(total=total, unit=" rows", unit_scale=True, desc=database.name, mininterval=1) as bar:
                while rows := cursor.fetchmany(_ROWS_AT_ONCE):
                    bar.update(rows[-1][-1] - first + 1 - bar.n)
                    yield [row[:-1] for row in rows]
                bar.update(total - bar.n)
    except sqlite3.Error as error:
        raise_if_io_error(error, database)
        raise InputError(f"{database}: damaged ({error}); {_compared(database)}; get it again") from None


def _compared(database: Path) -> str:
    """How a damaged file differs from the official one."""
    size = database.stat().st_size
    if size != _OFFICIAL_BYTES:
        return f"it has {size:,} bytes, the official yfcc100m_dataset.sql {_OFFICIAL_BYTES:,}"
    with io_errors_at(database), database.open("rb") as file:
        digest = file_digest(file, lambda: md5(usedforsecurity=False)).hexdigest()
    return f"its md5 is {digest}, that of the official yfcc100m_dataset.sql {_OFFICIAL_MD5}"


def _photo(photo_id: bytes, *facts: object) -> Photo:
    link, title, description, marker = (
        b"" if fact is None else fact if isinstance(fact, bytes) else str(fact).encode() for fact in facts
    )
    photo_hash = hash_of_link(link.decode("utf-8", errors="replace")).encode()
    return Photo(photo_id, photo_hash, title, description, marker)


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
