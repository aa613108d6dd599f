"""Lists of URLs and captions in any TSV, CSV or Parquet file; columns are given by name or by number."""

from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

from cloob.download.corpora.table_rows import Row, rows_of_table
from cloob.download.corpora.url_collection import collect_urls
from cloob.download.corpora.url_list_options import DEFAULT_COLUMNS


def read(
    urls: Path,
    outcomes: Path,
    list: Path | Sequence[Path],
    format: str | None = None,
    header: bool = True,
    url_column: str | int = DEFAULT_COLUMNS["url_column"],
    caption_column: str | int = DEFAULT_COLUMNS["caption_column"],
) -> Counter[str]:
    """Write the URL table and the accounting of all rows of the files; return the rows by outcome.

    The rows of several files are numbered consecutively; header rows are not counted. The outcomes are those
    of `collect_urls`; a `malformed_row` has another number of columns than the header or the first row, or
    unbalanced quotes. Raises `InputError` for a file of another format, or without the columns.
    """
    paths = [list] if isinstance(list, Path) else [*list]
    first_rows: dict[Path, str] = {}

    def rows() -> Iterator[Row]:
        for path in paths:
            yield from rows_of_table(
                path,
                (url_column, caption_column),
                format,
                header,
                first_rows,
                header_remedy="correct it, or set --header=false",
            )

    def explain_failure(counts: Counter[str]) -> str:
        names = ", ".join(str(path) for path in paths)
        by_outcome = ", ".join(f"{outcome} {rows:,}" for outcome, rows in counts.most_common()) or "no rows"
        first = "".join(f"; the first row is {row!r}" for row in first_rows.values())[:200]
        return (
            f"{names}: none of {counts.total():,} rows has a caption and an http(s) URL ({by_outcome})"
            f"{first}; check --format, --header, --url-column and --caption-column"
        )

    return collect_urls(rows(), urls, outcomes, explain_failure)
