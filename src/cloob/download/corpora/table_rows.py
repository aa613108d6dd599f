"""Two columns of any TSV, CSV or Parquet file; columns are given by name or by number."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import pyarrow as pa
from tqdm import tqdm

from cloob.common.errors import InputError, one_line, raise_if_io_error
from cloob.common.parquet import open_parquet
from cloob.download.corpora.delimited_text import Fields, csv_records, tsv_records
from cloob.download.corpora.url_list_options import format_by_name

# The fields of both columns as bytes (a URL or file, and its caption), or None for a malformed row.
Row = tuple[bytes, bytes] | None
_PARQUET_BATCH = 10_000


def rows_of_table(
    path: Path,
    columns: tuple[str | int, str | int],
    format: str | None = None,
    header: bool = True,
    first_rows: dict[Path, str] | None = None,
    *,
    header_remedy: str,
) -> Iterator[Row]:
    """Two columns of a TSV, CSV or Parquet file, as bytes; None for a malformed row.

    The start of the first row is added to `first_rows`. Raises `InputError` for a file of another format,
    without the columns, or, with the remedy `header_remedy`, whose first row is malformed.
    """
    form = format or format_by_name(path)
    if form == "parquet":
        yield from _parquet_rows(path, *columns)
        return
    records = (csv_records if form == "csv" else tsv_records)(path)
    first: Fields | None = None
    if header and (first := next(records, None)) is None:
        raise InputError(f"{path}: the first row is not a header; {header_remedy}")
    first_rows = {} if first_rows is None else first_rows
    yield from _text_rows(path, records, first, columns, first_rows, form == "tsv" and format is None)


def _text_rows(
    path: Path,
    records: Iterator[Fields | None],
    header: Fields | None,
    columns: tuple[str | int, str | int],
    first_rows: dict[Path, str],
    may_be_csv: bool,
) -> Iterator[Row]:
    """The rows of a TSV or CSV file below its header; None for a malformed one."""
    width = 0
    indices: tuple[int, int] | None = None
    if header is not None:
        names = [field.decode("utf-8", errors="replace").strip() for field in header]
        hint = _format_hint(header) if may_be_csv else ""
        width, indices = len(names), _column_indices(path, columns, names, hint=hint)
    for fields in records:
        if fields is not None and path not in first_rows:
            first_rows[path] = b"\t".join(fields)[:80].decode("utf-8", errors="replace")
        # Without a header, the first well-formed row determines the number of columns.
        if indices is None and fields is not None:
            width = len(fields)
            hint = _format_hint(fields) if may_be_csv else ""
            indices = _column_indices(path, columns, None, width, hint)
        if fields is None or indices is None or len(fields) != width:
            yield None
        else:
            yield fields[indices[0]], fields[indices[1]]


def _format_hint(fields: Fields) -> str:
    """The remedy for a first row of a CSV or JSON file that was split at tabs."""
    if fields[0].lstrip().startswith((b"{", b"[")):
        return "; JSON is not read: convert it to CSV or Parquet"
    return "; rename it to .csv" if len(fields) == 1 and b"," in fields[0] else ""


def _parquet_rows(path: Path, url_column: str | int, caption_column: str | int) -> Iterator[Row]:
    """The rows of a Parquet file; null is an empty text."""
    try:
        with open_parquet(path) as file:
            schema = file.schema_arrow
            names = [
                schema.names[index]
                for index in _column_indices(path, (url_column, caption_column), schema.names)
            ]
            for name in names:
                if schema.names.count(name) > 1:
                    raise _ambiguous_column(path, name)
                if not _is_text(schema.field(name).type):
                    raise InputError(f"{path}: column {name} holds {schema.field(name).type}, not text")
            with tqdm(total=file.metadata.num_rows, unit=" rows", desc=path.name, mininterval=1) as progress:
                for batch in file.iter_batches(_PARQUET_BATCH, columns=names, use_threads=False):
                    # As bytes: text that is not UTF-8 must be counted, not raise an error.
                    url_values, captions = (_as_bytes(batch[name]) for name in names)
                    for url, caption in zip(url_values, captions, strict=True):
                        yield url or b"", caption or b""
                    progress.update(len(batch))
    except FileNotFoundError:
        raise InputError(f"{path}: no such file; copy it there, or give another path") from None
    except (OSError, pa.ArrowException) as error:
        raise_if_io_error(error, path)
        raise InputError(
            f"{path}: not a readable Parquet file ({one_line(error)}); download it again"
        ) from None


def _ambiguous_column(path: Path, name: str) -> InputError:
    return InputError(f"{path}: several columns are named {name!r}; rename all but one")


def _is_text(kind: pa.DataType) -> bool:
    if pa.types.is_dictionary(kind):
        kind = kind.value_type
    return any(
        check(kind)
        for check in (pa.types.is_string, pa.types.is_large_string, pa.types.is_string_view, pa.types.is_null)
    )


def _as_bytes(values: pa.Array) -> Sequence[bytes | None]:
    if pa.types.is_dictionary(values.type):
        values = values.dictionary_decode()
    return values.cast(pa.large_string()).view(pa.large_binary()).to_pylist()


def _column_indices(
    path: Path,
    columns: tuple[str | int, str | int],
    names: Sequence[str] | None,
    width: int = 0,
    hint: str = "",
) -> tuple[int, int]:
    """Positions of two columns. Raises `InputError`, with a hint, if the file has no such column."""
    width = len(names) if names is not None else width
    indices = []
    for column in columns:
        if names is not None and str(column) in names:
            if [*names].count(str(column)) > 1:
                raise _ambiguous_column(path, str(column))
            indices.append([*names].index(str(column)))
        elif isinstance(column, int) and column < width:
            indices.append(column)
        elif names is None and not isinstance(column, int):
            raise InputError(
                f"{path}: without a header the column {column!r} must be given by its number, from 0"
            )
        else:
            present = f"its columns are {', '.join(names)}"[:200] if names is not None else f"it has {width}"
            raise InputError(f"{path}: no column {column!r}; {present}{hint}")
    return indices[0], indices[1]
