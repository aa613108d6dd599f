"""The table of URLs to download, and URL normalization."""

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import quote, urlsplit, urlunsplit

import pyarrow as pa
import pyarrow.parquet as pq

from cloob.common.accounting import RejectedError
from cloob.common.atomic_files import atomic_write
from cloob.download.corpora.plain_text import CONTROL_CHARACTERS

# Fixed width, so that uids sort in list order; enough for a billion rows.
UID_DIGITS = 9
ROWS_PER_GROUP = 100_000
_ALREADY_NORMAL = re.compile(r'https?://[A-Za-z0-9.-]+(?::[0-9]{1,5})?(?:[/?][!"$-~]*)?')
# Printable characters left as they are: "%" among them, because quoting twice would break a URL.
_SAFE = "!#$%&'()*+,/:;=?@[]~"


def normalize_url(url: str) -> str:
    """Percent-encode blanks and non-ASCII characters, encode the host as IDNA, and drop the fragment.

    img2dataset rejects URLs that are not encoded. Raises `RejectedError` with the outcome: `empty_url`,
    `not_http` or `invalid_url`.
    """
    if _ALREADY_NORMAL.fullmatch(url):
        return url
    url = url.strip()
    if not url:
        raise RejectedError("empty_url")
    if CONTROL_CHARACTERS.search(url):
        raise RejectedError("invalid_url")
    try:
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https"):
            raise RejectedError("not_http")
        host, port = parts.hostname, parts.port
        if not host:
            raise RejectedError("invalid_url")
        netloc = f"[{host}]" if ":" in host else host.encode("idna").decode("ascii")
    except ValueError:  # non-numeric port, unbalanced brackets, or a host name that IDNA rejects
        raise RejectedError("invalid_url") from None
    if re.search(r"[^A-Za-z0-9._\-\[\]:]", netloc):
        raise RejectedError("invalid_url")
    if port is not None:
        netloc = f"{netloc}:{port}"
    path, query = quote(parts.path, safe=_SAFE), quote(parts.query, safe=_SAFE)
    return urlunsplit((parts.scheme, netloc, path, query, ""))


class UrlTableWriter:
    """Writes URLs in row groups, in bounded memory for a list of any length."""

    def __init__(self, writer: pq.ParquetWriter) -> None:
        self._writer = writer
        self._columns: dict[str, list[str | int]] = {name: [] for name in writer.schema.names}

    def add(self, row: int, url: str, caption: str) -> None:
        """Add the URL in a row (1-based) of the list."""
        self.extend([row], [url], [caption])

    def extend(
        self, rows: Sequence[int], urls: Sequence[str], captions: Sequence[str], **extra: Sequence[str]
    ) -> None:
        """Add the URLs in some rows; all sequences have the same length."""
        uids = [f"{row:0{UID_DIGITS}d}" for row in rows]
        columns: dict[str, Sequence[str] | Sequence[int]] = {"uid": uids, "url": urls, "caption": captions}
        for name, values in {**columns, "row": rows, **extra}.items():
            self._columns[name].extend(values)
        while len(self._columns["row"]) >= ROWS_PER_GROUP:
            self.flush()

    def flush(self) -> None:
        """Write the first row group of the collected rows."""
        group = {name: column[:ROWS_PER_GROUP] for name, column in self._columns.items()}
        self._writer.write_table(pa.table(group, schema=self._writer.schema))
        for column in self._columns.values():
            del column[:ROWS_PER_GROUP]


def url_table_schema(extra: Sequence[str] = ()) -> pa.Schema:
    """Columns uid, url, caption, row (int64), and the `extra` string columns."""
    strings = pa.string()
    columns = [("uid", strings), ("url", strings), ("caption", strings), ("row", pa.int64())]
    return pa.schema(columns + [(name, strings) for name in extra])


@contextmanager
def open_url_table(path: Path, extra: Sequence[str] = ()) -> Iterator[UrlTableWriter]:
    """Write a URL table (`url_table_schema`) atomically."""
    # Values do not repeat, so that dictionary encoding would only take time.
    with (
        atomic_write(path) as temporary,
        pq.ParquetWriter(temporary, url_table_schema(extra), use_dictionary=False) as writer,
    ):
        table = UrlTableWriter(writer)
        yield table
        table.flush()
