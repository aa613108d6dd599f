"""Compact logs (metrics.parquet): the numbers of a training log that tables and figures read.

A row per step with the columns of `STEP_KEYS` that the log has; the other events are in the metadata of the
file, as JSON. A tenth of the log's size, and read by column.
"""

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from cloob.common.atomic_files import atomic_write
from cloob.common.errors import InputError, io_errors_at, raise_if_io_error
from cloob.report.load.json_checks import parse_json
from cloob.report.load.log_lines import (
    POSITIVE,
    Event,
    LogContent,
    Schemas,
    check_event,
    check_events,
    event_schemas,
    read_lines,
)

SUFFIX = ".parquet"
_EVENTS = b"cloob.events"
_REMEDY = "delete it and make it again: `cloob report compact-log`"


def compact_log(log: Path, out: Path) -> None:
    """Write the compact log of `log`. Raises `InputError` with the number of the first invalid line."""
    content = read_lines(log, event_schemas({}))
    write_content(content, out)


def write_content(content: LogContent, out: Path) -> None:
    """Write a compact log; equal content gives equal files."""
    arrays = {
        key: pa.array(values, from_pandas=True)  # NaN: the step lacks the key
        for key, values in content.columns.items()
    }
    table = pa.table(arrays).replace_schema_metadata({_EVENTS: json.dumps(content.events)})
    encoding = dict.fromkeys(table.column_names, "BYTE_STREAM_SPLIT")
    with atomic_write(out) as temporary, temporary.open("wb") as file:
        pq.write_table(
            table,
            file,
            compression="zstd",
            use_dictionary=False,
            column_encoding=encoding,
            write_page_checksum=True,
        )


def read_events(path: Path, schemas: Schemas) -> tuple[list[tuple[int, Event]], int]:
    """The events of a compact log, each with the number of steps before it; and the number of steps.

    Raises `InputError` if the file is damaged, or an event or a step lacks a key.
    """
    metadata = _metadata(path)
    try:
        events = [(steps, event) for steps, event in parse_json((metadata.metadata or {})[_EVENTS])]
        types = metadata.schema.to_arrow_schema()
    except (KeyError, TypeError, ValueError, pa.ArrowException):
        raise InputError(f"{path}: not a compact log; {_REMEDY}") from None
    bounds = [0, *(steps for steps, _ in events), metadata.num_rows]
    if any(type(steps) is not int for steps in bounds) or bounds != sorted(bounds):
        raise InputError(f"{path}: damaged (the numbers of steps before its events); {_REMEDY}")
    for column in types:
        if column.type not in (pa.int64(), pa.float64()):
            raise InputError(f"{path}: damaged (column {column.name} is {column.type}); {_REMEDY}")
    for number, (_, event) in enumerate(events, start=1):
        check_event(event, schemas, f"{path}, event {number}", "train the run again")
    for key in schemas["step"]:
        if key[0] not in "?*" and not _is_complete(metadata, key):
            raise InputError(f"{path}: not a log of `cloob train`: a step has no {key}; train the run again")
    check_events(events, metadata.num_rows, path)
    return events, metadata.num_rows


def read_columns(path: Path, keys: Sequence[str]) -> dict[str, np.ndarray]:
    """Columns of the steps of a compact log.

    Raises `InputError` if the file is damaged, or a number is not finite, or not positive where it must be.
    """
    try:
        with io_errors_at(path), path.open("rb") as file:
            table = pq.ParquetFile(file, page_checksum_verification=True).read(columns=list(keys))
    except (pa.ArrowException, OSError) as error:
        raise _damage(path, error) from None
    columns = {key: table.column(key).to_numpy() for key in keys}
    for key, values in columns.items():
        valid = np.isfinite(values) & (values > 0) if key in POSITIVE else np.isfinite(values)
        if not valid.all():
            row = int(valid.argmin())
            raise InputError(f"{path}: damaged ({key} of step {row + 1} is {values[row]}); {_REMEDY}")
    return columns


def _metadata(path: Path) -> pq.FileMetaData:
    try:
        with io_errors_at(path), path.open("rb") as file:
            return pq.read_metadata(file)
    except FileNotFoundError:
        raise InputError(f"{path}: no such log; `cloob report compact-log` writes it") from None
    except (pa.ArrowException, OSError) as error:
        raise _damage(path, error) from None


def _damage(path: Path, error: Exception) -> InputError:
    """The error of a damaged file; raises `error` if the disk failed instead."""
    raise_if_io_error(error, path)
    return InputError(f"{path}: damaged ({str(error).splitlines()[0]}); {_REMEDY}")


def _is_complete(metadata: pq.FileMetaData, key: str) -> bool:
    """Whether every step has a key."""
    if key not in metadata.schema.names:
        return False
    column = metadata.schema.names.index(key)
    groups = (metadata.row_group(group).column(column) for group in range(metadata.num_row_groups))
    return all(group.statistics is not None and group.statistics.null_count == 0 for group in groups)
