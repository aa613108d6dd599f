"""Verify that packed shards are identical to their manifest, byte by byte. Nothing is repaired."""

import json
from array import array
from collections import Counter
from contextlib import closing
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq

from cloob.common.accounting import KEPT, read_outcomes
from cloob.common.errors import InputError, io_errors_at, raise_if_io_error
from cloob.common.hashing import sha256_file
from cloob.common.json_files import write_json
from cloob.common.parquet import open_parquet
from cloob.common.pool import advance, parallel_map
from cloob.images.decoding import open_image
from cloob.shards.manifest import ContentHash, read_manifest, with_checksum
from cloob.shards.pack import LEDGER
from cloob.shards.reader import Shards
from cloob.shards.writer import INDEX_SCHEMA, member_offsets

_REMEDY = "pack the shards again"
_VERIFIED_FIELDS = {"samples": int, "outcomes": dict, "ledger_sha256": str}  # not needed to read the shards
# Indexes of older versions have no perceptual hashes and are otherwise the same.
_COLUMNS = [name for name in INDEX_SCHEMA.names if name != "perceptual_hash"]


@dataclass(frozen=True)
class _Task:
    tar: Path
    entry: dict[str, Any]


def verify(manifest: Path, outcomes: Path, processes: int, out: Path | None = None) -> str:
    """Verify every byte of a packed corpus; return a one-line summary and write it as JSON to `out`.

    Checks the manifest's checksum; size and SHA-256 of every tar and index; the byte ranges of the
    index against the members of the tar; that every image decodes to the size and SHA-256 in the index; that
    caption and JSON belong to the image; that keys are unique; the SHA-256 of all content and of the ledger;
    and that manifest, indexes, ledger and outcomes have the same number of samples. Raises `InputError`
    naming the first shard or sample that differs.
    """
    content = read_manifest(manifest)
    if with_checksum(content) != content:
        raise InputError(f"{manifest}: changed after it was written; {_REMEDY}")
    for name, kind in _VERIFIED_FIELDS.items():
        if type(content.get(name)) is not kind:
            raise InputError(f"{manifest}: not a shard manifest ({name} is missing); {_REMEDY}")
    shards = Shards(manifest)
    tasks = [_Task(tar, entry) for tar, entry in zip(shards.tars, shards.manifest["shards"], strict=True)]
    content_hash, keys = ContentHash(), array("Q")
    with closing(parallel_map(_verify_shard, tasks, processes, len(shards), str(manifest))) as results:
        for samples in results:
            for key, digest, caption in samples:
                content_hash.add(key, digest, caption)
                keys.append(int(sha256(key.encode("utf-8")).hexdigest()[:16], 16))
    if content_hash.hexdigest() != shards.manifest["sha256"]:
        raise InputError(f"{manifest}: the samples do not have the SHA-256 in the manifest; {_REMEDY}")
    if (distinct := len(np.unique(np.asarray(keys)))) != len(shards):
        raise InputError(f"{manifest}: {len(shards) - distinct:,} keys occur twice; {_REMEDY}")
    _verify_counts(shards, outcomes)
    if out is not None:
        summary = {"manifest_sha256": sha256_file(manifest), "samples": len(shards), "shards": len(tasks)}
        write_json(out, summary)
    return f"{manifest}: verified {len(shards):,} samples in {len(tasks):,} shards"


def _verify_counts(shards: Shards, outcomes: Path) -> None:
    manifest, written_outcomes = shards.manifest, read_outcomes(outcomes)
    _verify_sha256(shards.path.parent / LEDGER, manifest["ledger_sha256"])
    ledger_outcomes = _count_ledger_outcomes(shards.path.parent / LEDGER)
    if manifest["samples"] != len(shards):
        raise InputError(
            f"{shards.path}: {manifest['samples']:,} samples in the manifest, {len(shards):,} in the "
            f"indexes; {_REMEDY}"
        )
    for file, counts in ((shards.path, manifest["outcomes"]), (outcomes, written_outcomes)):
        if {outcome: rows for outcome, rows in counts.items() if rows} != ledger_outcomes:
            raise InputError(f"{file}: the outcomes differ from those in {LEDGER}; {_REMEDY}")
    if ledger_outcomes.get(KEPT, 0) != len(shards):
        raise InputError(
            f"{LEDGER}: {ledger_outcomes.get(KEPT, 0):,} rows are kept, but the shards contain "
            f"{len(shards):,} samples; {_REMEDY}"
        )


def _verify_sha256(file: Path, expected: str) -> None:
    if not file.exists():
        raise InputError(f"{file}: no such file; {_REMEDY}")
    if sha256_file(file) != expected:
        raise InputError(f"{file}: the SHA-256 differs from the manifest; {_REMEDY}")


def _count_ledger_outcomes(ledger: Path) -> dict[str, int]:
    counts = Counter[str]()
    with io_errors_at(ledger):
        for batch in open_parquet(ledger).iter_batches(columns=["outcome"]):
            counts.update(batch["outcome"].to_pylist())
    return dict(counts)


def _verify_shard(task: _Task) -> list[tuple[str, str, str]]:
    """Key, SHA-256 and caption of every sample."""
    tar, index = task.tar, task.tar.with_suffix(".parquet")
    _verify_sha256(tar, task.entry["sha256"])
    _verify_sha256(index, task.entry["index_sha256"])
    offsets = member_offsets(tar)
    with io_errors_at(index):
        rows = pq.read_table(index, columns=_COLUMNS).to_pylist()
    if len(offsets) != 3 * len(rows):
        raise InputError(
            f"{tar}: {len(offsets):,} members, expected 3 for each of {len(rows):,} samples; {_REMEDY}"
        )
    samples = []
    with io_errors_at(tar), tar.open("rb") as file:
        for row in rows:
            parts = {}
            for part, suffix in (("image", "jpg"), ("caption", "txt"), ("record", "json")):
                offset, length = row[f"{part}_offset"], row[f"{part}_length"]
                if offsets.get(f"{row['key']}.{suffix}") != (offset, length):
                    raise InputError(
                        f"{tar}: sample {row['key']}: the {part} is not at the offset in the index; {_REMEDY}"
                    )
                file.seek(offset)
                parts[part] = file.read(length)
            try:
                caption = parts["caption"].decode("utf-8")
                _verify_sample(row, parts["image"], json.loads(parts["record"]))
            except Exception as error:  # decoders raise almost any exception for damaged images
                raise_if_io_error(error, tar)
                raise InputError(f"{tar}: sample {row['key']}: {error}; {_REMEDY}") from None
            samples.append((row["key"], row["sha256"], caption))
            advance()
    return samples


def _verify_sample(row: dict[str, Any], image: bytes, record: dict[str, Any]) -> None:
    """Raise ValueError with the first difference between index, image and JSON record."""
    if sha256(image).hexdigest() != row["sha256"]:
        raise ValueError("the image does not have the SHA-256 in the index")
    with open_image(image, max_pixels=row["width"] * row["height"]) as decoded:
        if decoded.size != (row["width"], row["height"]):
            raise ValueError(
                f"the image has {decoded.width} × {decoded.height} pixels, {row['width']} × {row['height']} "
                "in the index"
            )
    in_record = (record.get("uid"), record.get("sha256"), record.get("width"), record.get("height"))
    if in_record != (row["key"], row["sha256"], row["width"], row["height"]):
        raise ValueError("the JSON record belongs to another image")
