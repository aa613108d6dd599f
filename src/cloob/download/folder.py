"""The folder that img2dataset fills: whose it is, and which of its shards are whole."""

import json
import shutil
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from cloob.errors import InputError
from cloob.files import replacing

# img2dataset takes every *.json in the folder for a shard's statistics.
_FINGERPRINT = "fingerprint.txt"
_LINKS = "links_sha256.txt"
_STATISTICS = "_stats.json"


@dataclass(frozen=True)
class Part:
    """A finished shard of img2dataset: the tar, and the table with a row per link."""

    number: int
    tar: Path
    table: Path


def claim(folder: Path, fingerprint: str) -> bool:
    """Make the folder ours: keep what has the same fingerprint, wipe what another fetch left.

    Returns whether an earlier fetch of the same is gone on with. A folder that no fetch has made
    is never wiped: `InputError`.
    """
    folder.mkdir(parents=True, exist_ok=True)
    mark = folder / _FINGERPRINT
    if not mark.exists() and any(folder.iterdir()):
        raise InputError(f"{folder}: holds files that no fetch has left; empty it or name another folder")
    if mark.exists() and mark.read_text(encoding="ascii").strip() == fingerprint:
        return True
    # The statistics first: without them a shard counts as unfinished, wherever the wiping is cut off.
    for statistics in folder.glob(f"*{_STATISTICS}"):
        statistics.unlink()
    for leftover in folder.iterdir():
        if leftover.is_dir():
            shutil.rmtree(leftover)
        elif leftover != mark:
            leftover.unlink()
    with replacing(mark) as beside:
        beside.write_text(fingerprint + "\n", encoding="ascii")
    return False


def note_links(folder: Path, links_sha256: str) -> None:
    """Leave the hash of the table of links with the images: which list a corpus is of stays with it."""
    with replacing(folder / _LINKS) as beside:
        beside.write_text(links_sha256 + "\n", encoding="ascii")


def links_of(folder: Path) -> str | None:
    """The hash that `note_links` left."""
    note = folder / _LINKS
    return note.read_text(encoding="ascii").strip() if note.exists() else None


def whole_parts(folder: Path) -> list[Part]:
    """The finished shards in the order of the list.

    img2dataset counts a shard as done if its statistics exist; here its table must say the same.
    """
    parts = []
    for statistics in sorted(folder.glob(f"*{_STATISTICS}")):
        stem = statistics.name.removesuffix(_STATISTICS)
        part = Part(int(stem), folder / f"{stem}.tar", folder / f"{stem}.parquet")
        try:
            count = json.loads(statistics.read_text(encoding="utf-8"))["count"]
            whole = part.tar.stat().st_size > 0 and pq.read_metadata(part.table).num_rows == count
        except (OSError, ValueError, KeyError, pa.ArrowException):
            whole = False
        if whole:
            parts.append(part)
    return sorted(parts, key=lambda part: part.number)


def drop_torn_parts(folder: Path) -> None:
    """Delete what a killed run left half-written, so that img2dataset makes it anew."""
    shutil.rmtree(folder / "_tmp", ignore_errors=True)
    whole = {part.tar.stem for part in whole_parts(folder)}
    for pattern in (f"*{_STATISTICS}", "*.tar", "*.parquet"):
        for file in folder.glob(pattern):
            if file.name.removesuffix(_STATISTICS).split(".")[0] not in whole:
                file.unlink()


def progress(folder: Path, seen: dict[str, tuple[int, int]]) -> tuple[int, int]:
    """Links done and images kept so far; `seen` remembers the statistics read before."""
    for statistics in folder.glob(f"*{_STATISTICS}"):
        if statistics.name not in seen:
            try:
                content = json.loads(statistics.read_text(encoding="utf-8"))
                seen[statistics.name] = content["count"], content["successes"]
            except (ValueError, KeyError):
                continue  # being written
    return sum(count for count, _ in seen.values()), sum(kept for _, kept in seen.values())
