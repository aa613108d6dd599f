"""Every image that came in is read once, in the order it lies in, and decoded in full: kept, or refused.

A piece's verdicts are a Parquet table, and beside it lie the images that had to be encoded again. Both stay
until the corpus is packed, so a run that was killed judges no piece twice.
"""

import json
import os
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from hashlib import blake2b, sha256
from pathlib import Path
from typing import Any, BinaryIO

import pyarrow as pa
import pyarrow.parquet as pq

from cloob.common.accounting import KEPT, RejectedError
from cloob.common.atomic_files import atomic_write
from cloob.common.errors import InputError, raise_if_io_error
from cloob.common.pool import advance, parallel_map
from cloob.images.near_duplicates import HASH_BYTES
from cloob.shards.captions import normalize_caption
from cloob.shards.source import Chunk, InputSample, PackSource, read_byte_range
from cloob.shards.training_image import ImagePolicy, prepare_image

VALIDATION_SCHEMA = pa.schema(
    [
        ("uid", pa.string()),
        ("position", pa.uint64()),  # in the global order
        ("outcome", pa.string()),
        ("sha256", pa.string()),
        ("width", pa.int32()),
        ("height", pa.int32()),
        ("perceptual_hash", pa.binary(HASH_BYTES)),
        ("words", pa.int32()),
        ("reencoded", pa.bool_()),
        ("file", pa.binary()),  # a path; names of files need not be UTF-8
        ("offset", pa.int64()),
        ("length", pa.int64()),
        ("caption", pa.string()),
        ("record", pa.string()),  # the sample's JSON
    ]
)
_STAMP = b"made_of"


@dataclass(frozen=True)
class _Task:
    piece: Chunk
    table: Path
    rules: ImagePolicy
    seed: int


def validate_images(
    source: PackSource, folder: Path, rules: ImagePolicy, seed: int, processes: int
) -> list[Path]:
    """Judge all pieces into `folder`; return their tables in order. What is there of the same is kept."""
    folder.mkdir(parents=True, exist_ok=True)
    tasks = [
        _Task(piece, folder / f"{number:06d}.parquet", rules, seed)
        for number, piece in enumerate(source.pieces)
    ]
    return list(parallel_map(_judge_piece, tasks, processes, source.rows, "decoding"))


def shuffle_key(seed: int, uid: str) -> int:
    """A sample's place in the global order: 64 bits that follow from the seed and its uid alone."""
    return int.from_bytes(blake2b(f"{seed}/{uid}".encode(), digest_size=8).digest(), "big")


def _judge_piece(task: _Task) -> Path:
    made_of = json.dumps([task.piece.stamp, asdict(task.rules), task.seed, VALIDATION_SCHEMA.names])
    images = task.table.with_suffix(".images")
    done = _finished(task.table, made_of)
    if done is not None and images.exists():
        advance(done)
        return task.table
    task.table.unlink(missing_ok=True)  # it would vouch for other images
    rows = task.piece.rows(task.table.with_suffix(".tar"))
    with atomic_write(images) as beside, beside.open("wb") as encoded:
        verdicts = [_verdict(row, task, images, encoded) for row in _counted(rows)]
    columns = {name: [verdict.get(name) for verdict in verdicts] for name in VALIDATION_SCHEMA.names}
    with atomic_write(task.table) as beside:
        schema = VALIDATION_SCHEMA.with_metadata({_STAMP: made_of})
        pq.write_table(pa.table(columns, schema=schema), beside, compression="zstd")
    return task.table


def _finished(table: Path, made_of: str) -> int | None:
    """The rows of a table that an earlier run made of the same, or None."""
    try:
        found = pq.read_metadata(table)
    except (OSError, pa.ArrowException) as error:
        raise_if_io_error(error, table)
        return None
    return found.num_rows if (found.metadata or {}).get(_STAMP) == made_of.encode() else None


def _counted(rows: list[InputSample]) -> Iterator[InputSample]:
    for row in rows:
        yield row
        advance()


def _verdict(row: InputSample, task: _Task, images: Path, encoded: BinaryIO) -> dict[str, Any]:
    verdict: dict[str, Any] = {"uid": row.uid, "position": shuffle_key(task.seed, row.uid)}
    caption = normalize_caption(row.caption)
    try:
        if row.refused or row.place is None:
            raise RejectedError(row.refused)
        if not caption:
            raise RejectedError("empty_caption")
        content = read_byte_range(row.place)
        came = sha256(content).hexdigest()
        if row.sha256 not in (None, came):
            raise InputError(
                f"{row.place[0]}: {row.uid} is not the image of its ledger; fetch this part again"
            )
        image = prepare_image(content, task.rules)
    except RejectedError as refusal:
        return verdict | {"outcome": str(refusal)}
    place, digest = row.place, came
    if image.reencoded:
        place = (images, encoded.tell(), len(image.content))
        encoded.write(image.content)
        digest = sha256(image.content).hexdigest()
    record = {
        "uid": row.uid,
        "caption": row.caption,
        **row.provenance,
        "width": image.width,
        "height": image.height,
        "sha256": digest,
    }
    if image.reencoded:
        record["reencoded_from_sha256"] = came
    return verdict | {
        "outcome": KEPT,
        "sha256": digest,
        "width": image.width,
        "height": image.height,
        "perceptual_hash": image.perceptual_hash,
        "words": len(caption.split()),
        "reencoded": image.reencoded,
        "file": os.fsencode(place[0]),
        "offset": place[1],
        "length": place[2],
        "caption": caption,
        "record": json.dumps(record, ensure_ascii=False, allow_nan=False),
    }
