"""img2dataset's output folder: preparation, complete tars, and their rows."""

import json
import shutil
import tarfile
from hashlib import sha256
from pathlib import Path

import pyarrow as pa

from cloob.common.accounting import KEPT
from cloob.common.atomic_files import atomic_write
from cloob.common.directories import sorted_glob
from cloob.common.errors import InputError, io_errors_at, raise_if_io_error
from cloob.common.parquet import open_parquet
from cloob.common.tar_reader import open_tar
from cloob.download.fetch.error_codes import http_status_of, outcome_of

# Not .json: img2dataset reads every *.json in the folder as the statistics of a tar.
_FINGERPRINT = "fingerprint.txt"
_STATISTICS = "_stats.json"
_SCHEMA = pa.schema(
    [
        ("uid", pa.string()),
        ("outcome", pa.string()),
        ("http_status", pa.int16()),
        ("sha256", pa.string()),
        ("offset", pa.int64()),
        ("length", pa.int64()),
    ]
)


def prepare_output_dir(folder: Path, fingerprint: str) -> bool:
    """Create the folder; keep its content if the fingerprint is the same, otherwise delete the content.

    Returns whether an earlier download with the same fingerprint is resumed. Raises `InputError`, and deletes
    nothing, if the folder contains files but no fingerprint: no download has created it.
    """
    folder.mkdir(parents=True, exist_ok=True)
    marker = folder / _FINGERPRINT
    for temporary in sorted_glob(folder, f".{marker.stem}.*"):  # of a process killed while writing the marker
        temporary.unlink()
    if not marker.exists() and any(folder.iterdir()):
        raise InputError(
            f"{folder}: contains files that no download has written; empty it or name another folder"
        )
    with io_errors_at(marker):
        if marker.exists() and marker.read_text(encoding="ascii").strip() == fingerprint:
            return True
    # Statistics first: a tar without them counts as incomplete, so an interrupted deletion is harmless.
    for statistics in sorted_glob(folder, f"*{_STATISTICS}"):
        statistics.unlink()
    for path in folder.iterdir():
        if path.is_dir():
            shutil.rmtree(path)
        elif path != marker:
            path.unlink()
    with atomic_write(marker) as temporary:
        temporary.write_text(fingerprint + "\n", encoding="ascii")
    return False


def read_completed_tars(folder: Path, completed: dict[str, pa.Table]) -> list[pa.Table]:
    """Add tars that are newly complete to `completed`, by name; return their tables.

    A table has a row per URL in list order: uid, outcome, http_status, and for kept rows the sha256, offset
    and length of the image bytes in the tar. img2dataset considers a tar done once its statistics exist; here
    its tar and Parquet file must also match the statistics.
    """
    added = []
    for statistics_file in sorted_glob(folder, f"*{_STATISTICS}"):
        name = statistics_file.name.removesuffix(_STATISTICS)
        if name in completed:
            continue
        try:
            statistics = json.loads(statistics_file.read_text(encoding="utf-8"))
            table = _read_tar(folder / name, statistics["count"], statistics["successes"])
        except (OSError, ValueError, KeyError, TypeError, pa.ArrowException, tarfile.TarError) as error:
            # An intact tar on a failing disk must not be deleted and downloaded again.
            raise_if_io_error(error, folder / f"{name}.tar")
            continue  # incomplete, or being written
        completed[name] = table
        added.append(table)
    return added


def _read_tar(stem: Path, count: int, successes: int) -> pa.Table:
    """The rows of a tar. Raises `ValueError` if it does not match its statistics."""
    columns = ["key", "uid", "status", "error_message"]
    # `pq.read_table` might wait forever if a page is damaged, as by a crash of the machine.
    with open_parquet(stem.with_suffix(".parquet")) as file:
        rows = file.read(columns=columns).sort_by("key").to_pylist()
    images = {}
    with open_tar(stem.with_suffix(".tar")) as tar:
        for member in tar:
            if member.name.endswith(".jpg"):
                content = tar.content(member).read()
                if len(content) != member.size:
                    raise ValueError("the tar is truncated")
                images[member.name] = sha256(content).hexdigest(), member.offset_data, member.size
    if len(rows) != count or len(images) != successes:
        raise ValueError("rows or images are missing")
    records = []
    for row in rows:
        result = row["status"], row["error_message"]
        outcome = outcome_of(*result)
        image = images[f"{row['key']}.jpg"] if outcome == KEPT else (None, None, None)
        records.append((row["uid"], outcome, http_status_of(*result), *image))
    values = list(zip(*records, strict=True)) or [()] * len(_SCHEMA)
    arrays = [pa.array(column, field.type) for column, field in zip(values, _SCHEMA, strict=True)]
    return pa.table(arrays, _SCHEMA)


def remove_incomplete(folder: Path, completed: dict[str, pa.Table]) -> None:
    """Delete the files of incomplete tars, so that img2dataset downloads these again."""
    shutil.rmtree(folder / "_tmp", ignore_errors=True)
    for pattern in (f"*{_STATISTICS}", "*.tar", "*.parquet"):
        for file in sorted_glob(folder, pattern):
            if file.name.removesuffix(_STATISTICS).split(".")[0] not in completed:
                file.unlink()
