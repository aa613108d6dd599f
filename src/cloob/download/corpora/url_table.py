"""The table of links to fetch, and what a link may look like."""

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import quote, urlsplit, urlunsplit

import pyarrow as pa
import pyarrow.parquet as pq

from cloob.common.accounting import RejectedError
from cloob.common.atomic_files import atomic_write
from cloob.download.corpora.captions import CONTROL

# Enough for any list (YFCC100M has 100 million rows); of one width, so that names sort in list order.
UID_DIGITS = 9
_ROWS_PER_GROUP = 100_000
_PLAIN = re.compile(r"https?://[A-Za-z0-9.-]+(?::[0-9]{1,5})?(?:[/?][!-~]*)?")
# Everything printable that may stand in a link as it is; quoting anything already quoted would break it.
_SAFE = "!#$%&'()*+,/:;=?@[]~"


def fetchable(link: str) -> str:
    """The link in the form that goes over the wire: blanks and non-ASCII characters encoded.

    img2dataset refuses what is not encoded. Raises `RefusedError` with the outcome: `empty_link`,
    `not_http`, `bad_link`.
    """
    if _PLAIN.fullmatch(link):
        return link
    link = link.strip()
    if not link:
        raise RejectedError("empty_link")
    if CONTROL.search(link):
        raise RejectedError("bad_link")
    try:
        parts = urlsplit(link)
        if parts.scheme not in ("http", "https"):
            raise RejectedError("not_http")
        host, port = parts.hostname, parts.port
        if not host:
            raise RejectedError("bad_link")
        place = f"[{host}]" if ":" in host else host.encode("idna").decode("ascii")
    except ValueError:  # a port that is no number, brackets that do not close, a name that IDNA refuses
        raise RejectedError("bad_link") from None
    if re.search(r"[^A-Za-z0-9._\-\[\]:]", place):
        raise RejectedError("bad_link")
    if port is not None:
        place = f"{place}:{port}"
    path, query = quote(parts.path, safe=_SAFE), quote(parts.query, safe=_SAFE)
    return urlunsplit((parts.scheme, place, path, query, ""))


class UrlTable:
    """Collects links and writes them in groups, so that a list of any length needs the same memory."""

    def __init__(self, writer: pq.ParquetWriter) -> None:
        self._writer = writer
        self._columns: dict[str, list[str | int]] = {name: [] for name in writer.schema.names}

    def add(self, row: int, url: str, caption: str) -> None:
        """Add the link of the list's row (1-based)."""
        self.extend([row], [url], [caption])

    def extend(
        self, rows: Sequence[int], urls: Sequence[str], captions: Sequence[str], **more: Sequence[str]
    ) -> None:
        """Add the links of some rows; all sequences are of one length."""
        uids = [f"{row:0{UID_DIGITS}d}" for row in rows]
        for name, values in {"uid": uids, "url": urls, "caption": captions, "row": rows, **more}.items():
            self._columns[name].extend(values)
        while len(self._columns["row"]) >= _ROWS_PER_GROUP:
            self.flush()

    def flush(self) -> None:
        """Write a group of what was collected."""
        group = {name: column[:_ROWS_PER_GROUP] for name, column in self._columns.items()}
        self._writer.write_table(pa.table(group, schema=self._writer.schema))
        for column in self._columns.values():
            del column[:_ROWS_PER_GROUP]


@contextmanager
def url_table(path: Path, more: tuple[str, ...] = ()) -> Iterator[UrlTable]:
    """Open the table of links: columns uid, url, caption, row, and `more` of text."""
    schema = pa.schema(
        [("uid", pa.string()), ("url", pa.string()), ("caption", pa.string()), ("row", pa.int64())]
        + [(name, pa.string()) for name in more]
    )
    # No value comes twice, so that a dictionary would only take time.
    with atomic_write(path) as beside, pq.ParquetWriter(beside, schema, use_dictionary=False) as writer:
        table = UrlTable(writer)
        yield table
        table.flush()
