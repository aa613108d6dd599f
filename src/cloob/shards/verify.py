"""Does a corpus still hold what its manifest says? Nothing is repaired."""

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
from cloob.common.pool import advance, parallel_map
from cloob.images.decoding import open_image
from cloob.shards.manifest import ContentHash, read_manifest, with_checksum
from cloob.shards.pack import LEDGER
from cloob.shards.reader import Shards
from cloob.shards.writer import INDEX_SCHEMA, member_offsets

_AGAIN = "pack the shards again"
# Older indexes have no perceptual hashes, and hold all the same what they say.
_COLUMNS = [name for name in INDEX_SCHEMA.names if name != "perceptual_hash"]


@dataclass(frozen=True)
class _Task:
    tar: Path
    entry: dict[str, Any]


def verify(manifest: Path, outcomes: Path, processes: int, out: Path | None = None) -> str:
    """Check every byte of a packed corpus; return one line to print, and leave the same as JSON in `out`.

    Of the manifest: its seal. Of each shard: size, hash and its index's hash; the index against the tar's
    members; of each sample that the image decodes, has the size and hash of its index, and that caption and
    JSON are its. Of the whole: no key twice, the hashes of content and ledger, and as many samples in
    manifest, indices, ledger and outcomes. Raises `InputError` naming the first shard or sample that differs.
    """
    said = read_manifest(manifest)
    if with_checksum(said) != said:
        raise InputError(f"{manifest}: changed since it was written; {_AGAIN}")
    shards = Shards(manifest)
    tasks = [_Task(tar, entry) for tar, entry in zip(shards.tars, shards.manifest["shards"], strict=True)]
    content, keys = ContentHash(), array("Q")
    with closing(parallel_map(_verify_shard, tasks, processes, len(shards), str(manifest))) as verified:
        for samples in verified:
            for key, digest, caption in samples:
                content.add(key, digest, caption)
                keys.append(int(sha256(key.encode("utf-8")).hexdigest()[:16], 16))
    if content.hexdigest() != shards.manifest["sha256"]:
        raise InputError(f"{manifest}: the samples are not those of its hash; {_AGAIN}")
    if (distinct := len(np.unique(np.asarray(keys)))) != len(shards):
        raise InputError(f"{manifest}: {len(shards) - distinct:,} keys come twice; {_AGAIN}")
    _check_counts(shards, outcomes)
    if out is not None:
        checked = {"manifest_sha256": sha256_file(manifest), "samples": len(shards), "shards": len(tasks)}
        write_json(out, checked)
    return f"{manifest}: {len(shards):,} samples in {len(tasks):,} shards are what was packed"


def _check_counts(shards: Shards, outcomes: Path) -> None:
    manifest, accounting = shards.manifest, read_outcomes(outcomes)
    _check_hash(shards.path.parent / LEDGER, manifest["ledger_sha256"])
    ledger = _ledger_outcomes(shards.path)
    if manifest["samples"] != len(shards):
        raise InputError(
            f"{shards.path}: says {manifest['samples']:,} samples, the indices hold {len(shards):,}; {_AGAIN}"
        )
    for file, found in ((shards.path, manifest["outcomes"]), (outcomes, accounting)):
        if {outcome: rows for outcome, rows in found.items() if rows} != ledger:
            raise InputError(f"{file}: its outcomes are not those of the rows in {LEDGER}; {_AGAIN}")
    if ledger.get(KEPT, 0) != len(shards):
        raise InputError(
            f"{LEDGER}: {ledger.get(KEPT, 0):,} rows are kept, the shards hold {len(shards):,}; {_AGAIN}"
        )


def _check_hash(file: Path, digest: str) -> None:
    if not file.exists():
        raise InputError(f"{file}: no such file; {_AGAIN}")
    if sha256_file(file) != digest:
        raise InputError(f"{file}: its bytes differ from the manifest's hash; {_AGAIN}")


def _ledger_outcomes(manifest: Path) -> dict[str, int]:
    """The rows by outcome, counted in the ledger beside a manifest."""
    found = Counter[str]()
    ledger = manifest.parent / LEDGER
    with io_errors_at(ledger):
        for batch in pq.ParquetFile(ledger).iter_batches(columns=["outcome"]):
            found.update(batch["outcome"].to_pylist())
    return dict(found)


def _verify_shard(task: _Task) -> list[tuple[str, str, str]]:
    """Key, sha256 and caption of every sample."""
    tar = task.tar
    _check_hash(tar, task.entry["sha256"])
    _check_hash(tar.with_suffix(".parquet"), task.entry["index_sha256"])
    members = member_offsets(tar)
    index = tar.with_suffix(".parquet")
    with io_errors_at(index):
        rows = pq.read_table(index, columns=_COLUMNS).to_pylist()
    if len(members) != 3 * len(rows):
        raise InputError(f"{tar}: {len(members):,} members, not 3 of each of {len(rows):,} samples; {_AGAIN}")
    samples = []
    with io_errors_at(tar), tar.open("rb") as file:
        for row in rows:
            parts = {}
            for what, suffix in (("image", "jpg"), ("caption", "txt"), ("record", "json")):
                place = row[f"{what}_offset"], row[f"{what}_length"]
                if members.get(f"{row['key']}.{suffix}") != place:
                    raise InputError(
                        f"{tar}: sample {row['key']}: its {what} is not where the index says; {_AGAIN}"
                    )
                file.seek(place[0])
                parts[what] = file.read(place[1])
            try:
                caption = parts["caption"].decode("utf-8")
                _check(row, parts["image"], json.loads(parts["record"]))
            except Exception as error:  # strangers' bytes make the decoders raise nearly anything
                raise_if_io_error(error, tar)
                raise InputError(f"{tar}: sample {row['key']}: {error}; {_AGAIN}") from None
            samples.append((row["key"], row["sha256"], caption))
            advance()
    return samples


def _check(row: dict[str, Any], image: bytes, record: dict[str, Any]) -> None:
    """Raise ValueError with what is wrong."""
    if sha256(image).hexdigest() != row["sha256"]:
        raise ValueError("not the image of its index")
    with open_image(image, max_pixels=row["width"] * row["height"]) as decoded:
        if decoded.size != (row["width"], row["height"]):
            raise ValueError(f"an image of {decoded.width} × {decoded.height} pixels, not as the index says")
    said = (record.get("uid"), record.get("sha256"), record.get("width"), record.get("height"))
    if said != (row["key"], row["sha256"], row["width"], row["height"]):
        raise ValueError("its JSON is not that of its image")
