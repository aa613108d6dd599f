"""What a download leaves, made after its contract: ledgers of parts, tars, and the table of links."""

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
Row = tuple[str, bytes | str]  # the caption, and the image or the outcome of a link that gave none
ROWS = 23


def caption(number: int) -> str:
    """The caption of a row of the list (0-based)."""
    return f"picture {number} of „Köln“"


def uid(row: int) -> str:
    """Of a row of the list (1-based)."""
    return f"{row:09d}"


def leave_download(folder: Path, rows: Sequence[Row], parts: int = 2) -> tuple[list[Path], Path]:
    """The ledgers of as many parts, and the table of links."""
    links = folder / "urls.parquet"
    folder.mkdir(parents=True, exist_ok=True)
    numbers = range(1, len(rows) + 1)
    table = {
        "uid": [uid(number) for number in numbers],
        "url": [f"http://pictures.example/{number}.jpg" for number in numbers],
        "caption": [caption for caption, _ in rows],
        "row": list(numbers),
    }
    pq.write_table(pa.table(table), links)
    size = -(-len(rows) // parts)
    ledgers = [
        _leave_part(folder / "parts", part, rows[part * size : (part + 1) * size], part * size + 1)
        for part in range(parts)
    ]
    return ledgers, links


def _leave_part(folder: Path, part: int, rows: Sequence[Row], first: int) -> Path:
    name = f"{part:04d}"
    (folder / name).mkdir(parents=True)
    tar = folder / name / "00000.tar"
    ledger = {column: [] for column in LEDGER.names}
    with tarfile.open(tar, "w") as archive:
        for number, (_, content) in enumerate(rows, start=first):
            kept = isinstance(content, bytes)
            place = (None, None, None)
            if kept:
                member = tarfile.TarInfo(f"{uid(number)}.jpg")
                member.size = len(content)
                place = (f"{name}/00000.tar", archive.offset + 512, len(content))
                archive.addfile(member, io.BytesIO(content))
            row = (
                uid(number),
                "kept" if kept else content,
                200 if kept else None,
                sha256(content).hexdigest() if kept else None,
                0,
                *place,
            )
            for column, value in zip(LEDGER.names, row, strict=True):
                ledger[column].append(value)
    path = folder / f"{name}_ledger.parquet"
    pq.write_table(pa.table(ledger, schema=LEDGER), path)
    return path
