"""The SQLite dump of YFCC100M's metadata: the columns of the text form without line number and hash.

Photos of OpenAI's subset are looked up by their ids; their hashes are checked against the MD5 of their URLs.
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
from cloob.download.corpora.yfcc100m_subset import Photo, SubsetRows, read_subset

_MAGIC = b"SQLite format 3\x00"
_COLUMNS = 23
# Size and MD5 of tools/etc/yfcc100m_dataset.sql in the multimedia-commons bucket.
_OFFICIAL_BYTES, _OFFICIAL_MD5 = 65_644_027_904, "b8e3fa7f40ee2f309d63b8de8d755495"
_PHOTO_ID, _TITLE, _DESCRIPTION, _URL, _MARKER = 0, 6, 7, 14, 22
_ROWS_PER_BATCH = 5_000
_HEXADECIMAL = [f"{byte:x}" for byte in range(256)]
# A hash has at most 32 digits; with one more digit, longer ones are never equal to it.
_HASH = np.dtype("S33")


def is_sqlite(path: Path) -> bool:
    """Whether a file is an SQLite database, by its first bytes."""
    with io_errors_at(path), path.open("rb") as file:
        return file.read(len(_MAGIC)) == _MAGIC


def hash_of_url(url: str) -> str:
    """The photo's hash: the MD5 of its URL, each byte in hexadecimal without a leading zero."""
    digest = md5(url.encode(), usedforsecurity=False).digest()
    return "".join([_HEXADECIMAL[byte] for byte in digest])


def join_by_photo_id(
    database: Path, subset: Path, counts: Counter[str]
) -> Iterator[tuple[SubsetRows, list[Photo | None]]]:
    """Subset rows with the photo of each, in the dump's order.

    Other rows are counted: `duplicate_photo` if an earlier row lists the photo, else `not_in_metadata`.
    Raises `InputError` if the dump is damaged or has other columns.
    """
    index = _SubsetIndex(subset, counts)
    for records in _select_photos(database, index.photo_ids):
        positions = index.take([_parse_int(record[0]) for record in records])
        requested = np.flatnonzero(positions >= 0)
        subset_rows = index.rows_at(positions[requested])
        ids = subset_rows.photo_ids.tolist()
        matched = [records[row] for row in requested]
        photos: list[Photo | None] = [
            _parse_photo(photo_id, *record[1:]) for photo_id, record in zip(ids, matched, strict=True)
        ]
        yield subset_rows, photos
    counts["not_in_metadata"] += index.num_missing


class _SubsetIndex:
    """The subset indexed by photo id, 74 bytes per photo: 1.1 GB for 14.8 million, 1.5 GB while sorting."""

    def __init__(self, subset: Path, counts: Counter[str]) -> None:
        # These grow in place, whereas NumPy arrays would be copied.
        rows, line_numbers, ids, hashes = array("q"), array("q"), array("q"), bytearray()
        for batch in read_subset(subset, counts):
            rows.frombytes(batch.rows.tobytes())
            line_numbers.frombytes(batch.line_numbers.tobytes())
            ids.frombytes(batch.photo_ids.astype(np.int64).tobytes())
            hashes += batch.photo_hashes.astype(_HASH).tobytes()
        self._rows, self._line_numbers = np.frombuffer(rows, np.int64), np.frombuffer(line_numbers, np.int64)
        self._hashes = np.frombuffer(hashes, _HASH)
        self.photo_ids, self._order = np.unique(np.frombuffer(ids, np.int64), return_index=True)
        self._is_missing = np.ones(len(self.photo_ids), bool)
        counts["duplicate_photo"] += len(rows) - len(self.photo_ids)

    def take(self, photo_ids: list[int]) -> np.ndarray:
        """The position of each id in `photo_ids`; -1 if it is not in the subset or was taken before."""
        ids = np.asarray(photo_ids, np.int64)
        positions = np.searchsorted(self.photo_ids, ids)
        positions[positions == len(self.photo_ids)] = 0
        _, first = np.unique(ids, return_index=True)
        is_repeated = np.ones(len(ids), bool)
        is_repeated[first] = False
        positions[(self.photo_ids[positions] != ids) | ~self._is_missing[positions] | is_repeated] = -1
        self._is_missing[positions[positions >= 0]] = False
        return positions

    def rows_at(self, positions: np.ndarray) -> SubsetRows:
        """The subset rows at some positions of `photo_ids`."""
        indices = self._order[positions]
        ids = self.photo_ids[positions].astype(np.bytes_)
        return SubsetRows(self._rows[indices], self._line_numbers[indices], ids, self._hashes[indices])

    @property
    def num_missing(self) -> int:
        """The number of photos that were not taken."""
        return int(self._is_missing.sum())


def _select_photos(database: Path, photo_ids: np.ndarray) -> Iterator[list[tuple]]:
    """The dump's rows of the given photos: id, URL, title, description, marker. SQLite filters them."""
    try:
        with closing(sqlite3.connect(f"{database.absolute().as_uri()}?mode=ro", uri=True)) as connection:
            table, columns = _find_table(database, connection)
            names = [columns[i] for i in (_PHOTO_ID, _URL, _TITLE, _DESCRIPTION, _MARKER)]
            selected = ", ".join(f'"{name}"' for name in names)
            connection.text_factory = bytes
            connection.execute("PRAGMA temp_store = MEMORY")
            connection.execute("CREATE TEMP TABLE subset_photos (photo_id INTEGER PRIMARY KEY)")
            parameters = ((photo_id,) for photo_id in map(int, photo_ids))
            connection.executemany("INSERT INTO subset_photos VALUES (?)", parameters)
            first, last = connection.execute(f'SELECT min(rowid), max(rowid) FROM main."{table}"').fetchone()
            cursor = connection.execute(
                f'SELECT {selected}, rowid FROM main."{table}" '
                f'WHERE CAST("{names[0]}" AS INTEGER) IN (SELECT photo_id FROM subset_photos) ORDER BY rowid'
            )
            total = last - first + 1 if last is not None else 0
            with tqdm(
                total=total, unit=" rows", unit_scale=True, desc=database.name, mininterval=1
            ) as progress:
                while rows := cursor.fetchmany(_ROWS_PER_BATCH):
                    progress.update(rows[-1][-1] - first + 1 - progress.n)
                    yield [row[:-1] for row in rows]
                progress.update(total - progress.n)
    except sqlite3.Error as error:
        raise_if_io_error(error, database)
        reason = f"damaged ({error}); {_difference_to_official(database)}"
        raise InputError(f"{database}: {reason}; download it again") from None


def _difference_to_official(database: Path) -> str:
    """How a damaged file differs from the official one."""
    size = database.stat().st_size
    if size != _OFFICIAL_BYTES:
        return f"it has {size:,} bytes, the official yfcc100m_dataset.sql {_OFFICIAL_BYTES:,}"
    with io_errors_at(database), database.open("rb") as file:
        digest = file_digest(file, lambda: md5(usedforsecurity=False)).hexdigest()
    return f"its md5 is {digest}, that of the official yfcc100m_dataset.sql {_OFFICIAL_MD5}"


def _parse_photo(photo_id: bytes, *values: object) -> Photo:
    url, title, description, marker = (
        b"" if value is None else value if isinstance(value, bytes) else str(value).encode()
        for value in values
    )
    photo_hash = hash_of_url(url.decode("utf-8", errors="replace")).encode()
    return Photo(photo_id, photo_hash, title, description, marker)


def _parse_int(value: object) -> int:
    try:
        return int(value)  # type: ignore[call-overload]
    except (TypeError, ValueError):
        return -1


def _find_table(database: Path, connection: sqlite3.Connection) -> tuple[str, list[str]]:
    """The name and columns of the dump's table, quoted for SQL. Raises `InputError` if there is none."""
    tables = connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall()
    for (name,) in tables:
        quoted = name.replace('"', '""')
        columns = [row[1] for row in connection.execute(f'PRAGMA table_info("{quoted}")')]
        if len(columns) == _COLUMNS:
            return quoted, [column.replace('"', '""') for column in columns]
    names = ", ".join(name for (name,) in tables) or "none"
    raise InputError(f"{database}: no table of {_COLUMNS} columns (tables: {names}); is it the metadata?")
