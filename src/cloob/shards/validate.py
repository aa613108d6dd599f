"""Validate all images once, in the order they are stored: each is decoded in full, then kept or rejected.

The results of a chunk are a Parquet table, next to which the re-encoded images are stored. Both exist until
the corpus is packed, so that a run resumes without validating a chunk again.
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
from cloob.shards.caption_tokens import exceeds_context
from cloob.shards.captions import normalize_caption
from cloob.shards.source import Chunk, InputSample, PackSource, read_byte_range
from cloob.shards.training_image import ImagePolicy, prepare_image

VALIDATION_SCHEMA = pa.schema(
    [
        ("uid", pa.string()),
        ("shuffle_key", pa.uint64()),
        ("outcome", pa.string()),
        ("sha256", pa.string()),
        ("width", pa.int32()),
        ("height", pa.int32()),
        ("perceptual_hash", pa.binary(HASH_BYTES)),
        ("words", pa.int32()),
        ("exceeds_context", pa.bool_()),
        ("reencoded", pa.bool_()),
        ("file", pa.binary()),  # a path, which need not be valid UTF-8
        ("offset", pa.int64()),
        ("length", pa.int64()),
        ("caption", pa.string()),
        ("record", pa.string()),  # the sample's JSON
    ]
)
_FINGERPRINT = b"fingerprint"


@dataclass(frozen=True)
class _Task:
    chunk: Chunk
    table: Path
    policy: ImagePolicy
    seed: int


def validate_images(
    source: PackSource, folder: Path, policy: ImagePolicy, seed: int, processes: int
) -> list[Path]:
    """Validate all chunks; return their result tables in order. Up-to-date tables in `folder` are reused."""
    folder.mkdir(parents=True, exist_ok=True)
    tasks = [
        _Task(chunk, folder / f"{number:06d}.parquet", policy, seed)
        for number, chunk in enumerate(source.chunks)
    ]
    return list(parallel_map(_validate_chunk, tasks, processes, source.num_samples, "validating images"))


def shuffle_key(seed: int, uid: str) -> int:
    """The 64-bit sort key of the global order, a function of the seed and the sample's uid alone."""
    return int.from_bytes(blake2b(f"{seed}/{uid}".encode(), digest_size=8).digest(), "big")


def _validate_chunk(task: _Task) -> Path:
    # With the folder: the table has the paths of the images that were encoded again.
    fingerprint = json.dumps(
        [task.chunk.fingerprint, str(task.table), asdict(task.policy), task.seed, VALIDATION_SCHEMA.names]
    )
    reencoded_images = task.table.with_suffix(".images")
    num_rows = _up_to_date_rows(task.table, fingerprint)
    if num_rows is not None and reencoded_images.exists():
        advance(num_rows)
        return task.table
    task.table.unlink(missing_ok=True)  # it belongs to other images than those written next
    samples = task.chunk.samples(task.table.with_suffix(".tar"))
    with atomic_write(reencoded_images) as temporary, temporary.open("wb") as out:
        rows = [_validate(sample, task, reencoded_images, out) for sample in _with_progress(samples)]
    columns = {name: [row.get(name) for row in rows] for name in VALIDATION_SCHEMA.names}
    with atomic_write(task.table) as temporary:
        schema = VALIDATION_SCHEMA.with_metadata({_FINGERPRINT: fingerprint})
        pq.write_table(pa.table(columns, schema=schema), temporary, compression="zstd")
    return task.table


def _up_to_date_rows(table: Path, fingerprint: str) -> int | None:
    """The number of rows of a table that an earlier run made from the same input; None if there is none."""
    try:
        metadata = pq.read_metadata(table)
    except (OSError, pa.ArrowException) as error:
        raise_if_io_error(error, table)
        return None
    return metadata.num_rows if (metadata.metadata or {}).get(_FINGERPRINT) == fingerprint.encode() else None


def _with_progress(samples: list[InputSample]) -> Iterator[InputSample]:
    for sample in samples:
        yield sample
        advance()


def _validate(sample: InputSample, task: _Task, reencoded_images: Path, out: BinaryIO) -> dict[str, Any]:
    """One row of the result table; a re-encoded image is appended to `out`, the file `reencoded_images`."""
    row: dict[str, Any] = {"uid": sample.uid, "shuffle_key": shuffle_key(task.seed, sample.uid)}
    caption = normalize_caption(sample.caption)
    try:
        if sample.rejected or sample.image is None:
            raise RejectedError(sample.rejected)
        if not caption:
            raise RejectedError("empty_caption")
        content = read_byte_range(sample.image)
        input_sha256 = sha256(content).hexdigest()
        if sample.sha256 not in (None, input_sha256):
            raise InputError(
                f"{sample.image[0]}: image {sample.uid} does not have the SHA-256 of its ledger; download "
                "this part again"
            )
        image = prepare_image(content, task.policy)
    except RejectedError as rejection:
        return row | {"outcome": str(rejection)}
    byte_range, image_sha256 = sample.image, input_sha256
    if image.reencoded:
        byte_range = (reencoded_images, out.tell(), len(image.content))
        out.write(image.content)
        image_sha256 = sha256(image.content).hexdigest()
    record = {
        "uid": sample.uid,
        "caption": sample.caption,
        **sample.provenance,
        "width": image.width,
        "height": image.height,
        "sha256": image_sha256,
    }
    if image.reencoded:
        record["reencoded_from_sha256"] = input_sha256
    file, offset, length = byte_range
    return row | {
        "outcome": KEPT,
        "sha256": image_sha256,
        "width": image.width,
        "height": image.height,
        "perceptual_hash": image.perceptual_hash,
        "words": len(caption.split()),
        "exceeds_context": exceeds_context(caption),
        "reencoded": image.reencoded,
        "file": os.fsencode(file),
        "offset": offset,
        "length": length,
        "caption": caption,
        "record": json.dumps(record, ensure_ascii=False, allow_nan=False),
    }
