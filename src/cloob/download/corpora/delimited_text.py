"""Records of TSV and CSV files as lists of byte strings; malformed records are None."""

import csv
from collections import deque
from collections.abc import Iterator
from pathlib import Path

from cloob.download.corpora.line_reader import read_lines

Fields = list[bytes]


def tsv_records(path: Path) -> Iterator[Fields | None]:
    """Lines split at tabs; quotes have no meaning."""
    for line in read_lines(path, description=path.name):
        yield line.split(b"\t")


def csv_records(path: Path) -> Iterator[Fields | None]:
    """Records of RFC 4180: fields separated by commas, quoted with `"`, possibly over several lines.

    A quote that is not closed within 128 KB, or is followed by text, makes its first line malformed; reading
    resumes at the next line, so that it cannot swallow the records after it.
    """
    lines = _ReplayableLines(path)
    records = csv.reader(lines, strict=True)
    while True:
        lines.start_record()
        try:
            record = next(records)
        except StopIteration:
            return
        except csv.Error:
            lines.replay_after_first()
            yield None
        else:
            yield [field.encode("utf-8", errors="surrogateescape") for field in record]


class _ReplayableLines:
    """The lines of a file as text, which remembers the lines of the current record."""

    def __init__(self, path: Path) -> None:
        self._lines = read_lines(path, description=path.name)
        self._pending: deque[str] = deque()
        self._current: list[str] = []

    def __iter__(self) -> "_ReplayableLines":
        return self

    def __next__(self) -> str:
        if self._pending:
            line = self._pending.popleft()
        else:
            # Bytes that are not UTF-8 survive as surrogates, so that only their own row is rejected.
            line = next(self._lines).decode("utf-8", errors="surrogateescape") + "\n"
        self._current.append(line)
        return line

    def start_record(self) -> None:
        self._current.clear()

    def replay_after_first(self) -> None:
        """Return all lines of the current record but the first to the input."""
        self._pending.extendleft(reversed(self._current[1:]))
