"""Conceptual Captions: rows of `caption<TAB>URL`, UTF-8, no header, no quoting."""

from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from cloob.download.corpora.line_reader import read_lines
from cloob.download.corpora.table_rows import Row
from cloob.download.corpora.url_collection import collect_urls


def read(urls: Path, outcomes: Path, list: Path) -> Counter[str]:
    """Write the URL table and the accounting of all rows of the list; return the rows by outcome.

    The outcomes are those of `collect_urls`; a row without a tab is a `malformed_row`. In a row with several
    tabs, the last one separates caption and URL.
    """
    first_line = b""

    def rows() -> Iterator[Row]:
        nonlocal first_line
        for line in read_lines(list, description=list.name):
            first_line = first_line or line
            caption, tab, url = line.rpartition(b"\t")
            yield (url, caption) if tab else None

    def explain_failure(counts: Counter[str]) -> str:
        return (
            f"{list}: none of {counts.total():,} rows is `caption<TAB>http URL`; {_actual_form(first_line)}"
        )

    return collect_urls(rows(), urls, outcomes, explain_failure)


def _actual_form(line: bytes) -> str:
    """The actual form of the first line, for the error message."""
    columns = line.split(b"\t")
    if len(columns) > 1 and columns[0].strip().startswith((b"http://", b"https://")):
        return "the URL comes first: swap the columns, or use `--reader url_list`"
    shown = repr(line[:80].decode("utf-8", errors="replace"))
    return f"the first has {len(columns)} columns: {shown}; is it the right file?"
