"""Write the output of a download without downloading: ledgers of all parts, their tars and the URL list."""

import io
import tarfile
from collections.abc import Sequence
from hashlib import sha256
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

LEDGER = pa.schema(
    [
        ("uid", pa.string()),
        ("outcome", pa.string()),
        ("http_status", pa.int16()),
        ("sha256", pa.string()),
        ("round", pa.int8()),
        ("tar", pa.string()),
        ("offset", pa.int64()),
        ("length", pa.int64()),
    ]
)
UrlRow = tuple[str, bytes | str]  # the caption, and the image or the outcome of a failed download
NUM_IMAGES = 23


def caption(number: int) -> str:
    """The caption of image `number` (0-based)."""
    return f"image {number} of „Köln“"


def uid(row: int) -> str:
    """The uid of a row of the URL list (1-based)."""
    return f"{row:09d}"


def write_download(folder: Path, rows: Sequence[UrlRow], parts: int = 2) -> tuple[list[Path], Path]:
    """Write the given number of parts; return their ledgers and the URL list."""
    urls = folder / "urls.parquet"
    folder.mkdir(parents=True, exist_ok=True)
    numbers = range(1, len(rows) + 1)
    table = {
        "uid": [uid(number) for number in numbers],
        "url": [f"http://images.example/{number}.jpg" for number in numbers],
        "caption": [caption for caption, _ in rows],
        "row": list(numbers),
    }
    pq.write_table(pa.table(table), urls)
    size = -(-len(rows) // parts)
    ledgers = [
        _write_part(folder / "parts", part, rows[part * size : (part + 1) * size], part * size + 1)
        for part in range(parts)
    ]
    return ledgers, urls


def _write_part(folder: Path, part: int, rows: Sequence[UrlRow], first_row: int) -> Path:
    name = f"{part:04d}"
    (folder / name).mkdir(parents=True)
    tar = folder / name / "00000.tar"
    ledger = {column: [] for column in LEDGER.names}
    with tarfile.open(tar, "w") as archive:
        for number, (_, content) in enumerate(rows, start=first_row):
            kept = isinstance(content, bytes)
            byte_range = (None, None, None)
            if kept:
                member = tarfile.TarInfo(f"{uid(number)}.jpg")
                member.size = len(content)
                byte_range = (f"{name}/00000.tar", archive.offset + 512, len(content))
                archive.addfile(member, io.BytesIO(content))
            row = (
                uid(number),
                "kept" if kept else content,
                200 if kept else None,
                sha256(content).hexdigest() if kept else None,
                0,
                *byte_range,
            )
            for column, value in zip(LEDGER.names, row, strict=True):
                ledger[column].append(value)
    path = folder / f"{name}_ledger.parquet"
    pq.write_table(pa.table(ledger, schema=LEDGER), path)
    return path
