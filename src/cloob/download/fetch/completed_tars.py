"""The folder that img2dataset fills: whose it is, which of its tars are whole, and what they hold."""

import json
import shutil
import tarfile
from hashlib import sha256
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from cloob.common.accounting import KEPT
from cloob.common.atomic_files import atomic_write
from cloob.common.directories import sorted_glob
from cloob.common.errors import InputError, io_errors_at, raise_if_io_error
from cloob.common.tar_reader import open_tar
from cloob.download.fetch.error_codes import http_status_of, outcome_of

# img2dataset takes every *.json in the folder for the statistics of a tar.
_FINGERPRINT = "fingerprint.txt"
_STATISTICS = "_stats.json"
_ROW = pa.schema(
    [
        ("uid", pa.string()),
        ("outcome", pa.string()),
        ("http_status", pa.int16()),
        ("sha256", pa.string()),
        ("offset", pa.int64()),
        ("length", pa.int64()),
    ]
)


def claim(folder: Path, fingerprint: str) -> bool:
    """Make the folder ours: keep what has the same fingerprint, wipe what another fetch left.

    Returns whether an earlier fetch of the same is gone on with. A folder that no fetch has made
    is never wiped: `InputError`.
    """
    folder.mkdir(parents=True, exist_ok=True)
    mark = folder / _FINGERPRINT
    for half in sorted_glob(
        folder, f".{mark.stem}.*"
    ):  # of a process that was killed as it marked the folder
        half.unlink()
    if not mark.exists() and any(folder.iterdir()):
        raise InputError(f"{folder}: holds files that no fetch has left; empty it or name another folder")
    with io_errors_at(mark):
        if mark.exists() and mark.read_text(encoding="ascii").strip() == fingerprint:
            return True
    # The statistics first: without them a tar counts as unfinished, wherever the wiping is cut off.
    for statistics in sorted_glob(folder, f"*{_STATISTICS}"):
        statistics.unlink()
    for leftover in folder.iterdir():
        if leftover.is_dir():
            shutil.rmtree(leftover)
        elif leftover != mark:
            leftover.unlink()
    with atomic_write(mark) as beside:
        beside.write_text(fingerprint + "\n", encoding="ascii")
    return False


def read_whole(folder: Path, whole: dict[str, pa.Table]) -> list[pa.Table]:
    """Add to `whole` the tars that have become whole, by name; return what was added.

    A table has a row per link, in the order of the list: uid, outcome, http_status, and of kept ones the
    sha256 and the place (offset, length) of the bytes in the tar. img2dataset counts a tar as done if its
    statistics exist; here the tar and the table must hold what these say.
    """
    added = []
    for statistics in sorted_glob(folder, f"*{_STATISTICS}"):
        name = statistics.name.removesuffix(_STATISTICS)
        if name in whole:
            continue
        try:
            said = json.loads(statistics.read_text(encoding="utf-8"))
            table = _read(folder / name, said["count"], said["successes"])
        except (OSError, ValueError, KeyError, TypeError, pa.ArrowException, tarfile.TarError) as error:
            raise_if_io_error(error, folder / f"{name}.tar")  # else it would be deleted, and fetched again
            continue  # torn, or being written
        whole[name] = table
        added.append(table)
    return added


def _read(stem: Path, count: int, successes: int) -> pa.Table:
    """The rows of a tar; raises `ValueError` where it lacks what its statistics say."""
    columns = ["key", "uid", "status", "error_message"]
    rows = pq.read_table(stem.with_suffix(".parquet"), columns=columns).sort_by("key").to_pylist()
    places = {}
    with open_tar(stem.with_suffix(".tar")) as tar:
        for member in tar:
            if member.name.endswith(".jpg"):
                content = tar.content(member).read()
                if len(content) != member.size:
                    raise ValueError("the tar is cut off")
                places[member.name] = sha256(content).hexdigest(), member.offset_data, member.size
    if len(rows) != count or len(places) != successes:
        raise ValueError("rows or images are missing")
    entries = []
    for row in rows:
        why = row["status"], row["error_message"]
        outcome = outcome_of(*why)
        place = places[f"{row['key']}.jpg"] if outcome == KEPT else (None, None, None)
        entries.append((row["uid"], outcome, http_status_of(*why), *place))
    values = list(zip(*entries, strict=True)) or [()] * len(_ROW)
    return pa.table([pa.array(column, field.type) for column, field in zip(values, _ROW, strict=True)], _ROW)


def drop_torn(folder: Path, whole: dict[str, pa.Table]) -> None:
    """Delete what a killed run left half-written, so that img2dataset makes it anew."""
    shutil.rmtree(folder / "_tmp", ignore_errors=True)
    for pattern in (f"*{_STATISTICS}", "*.tar", "*.parquet"):
        for file in sorted_glob(folder, pattern):
            if file.name.removesuffix(_STATISTICS).split(".")[0] not in whole:
                file.unlink()
