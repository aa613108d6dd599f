"""Pack a corpus into the shards that training reads: validate, shuffle globally, write, write the manifest.

Images are read twice: sequentially to validate them, and in shuffled order to write the shards.
"""

import os
import shutil
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from hashlib import sha256
from itertools import chain
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from cloob.common.accounting import KEPT, write_outcomes
from cloob.common.directories import sorted_glob
from cloob.common.errors import InputError, io_errors_at
from cloob.common.hashing import sha256_file
from cloob.common.json_files import write_json
from cloob.common.locks import exclusive_dir_lock
from cloob.common.parquet import open_parquet
from cloob.common.pool import advance, parallel_map
from cloob.images.near_duplicates import DEFAULT_DISTANCE, HASH_VERSION
from cloob.shards.held_out import count_rows, exclude_held_out, read_held_out
from cloob.shards.manifest import ContentHash, with_checksum
from cloob.shards.shuffle import shuffle
from cloob.shards.source import PackSource, read_byte_range
from cloob.shards.statistics import corpus_statistics
from cloob.shards.training_image import ImagePolicy
from cloob.shards.validate import validate_images
from cloob.shards.writer import Sample, ShardEntry, finished_shard, write_shard

MANIFEST = "shards.json"
LEDGER = "ledger.parquet"
_WORK = "work"  # folder of intermediate files, from which an interrupted run resumes
_READAHEAD = 64  # images requested from the operating system in advance, so that random reads overlap
_RESTART_HINT = f"delete the folder {_WORK} next to the shards and run again"


@dataclass(frozen=True)
class PackOptions:
    """How a corpus is packed."""

    samples_per_shard: int
    seed: int
    policy: ImagePolicy
    near_duplicate_distance: int = DEFAULT_DISTANCE  # max differing bits of 256-bit perceptual hashes


def pack(
    source: PackSource,
    out: Path,
    outcomes: Path,
    options: PackOptions,
    processes: int,
    validation: Sequence[Path] = (),
) -> Counter[str]:
    """Validate the images of `source`, drop (near-)duplicates of `validation` images, write the shards.

    If the process is killed, the next run reuses what is complete and produces identical files; the manifest
    `shards.json` is written last. Returns the number of images by outcome. Raises `InputError` if no image is
    left, or `out` contains tars that no packing has written.
    """
    _check_replaceable(out)
    work = out / _WORK
    with exclusive_dir_lock(work), io_errors_at(work):
        (out / MANIFEST).unlink(missing_ok=True)  # shards without a manifest are unfinished
        held_out = read_held_out(validation) if validation else None
        tables = validate_images(source, work / "validated", options.policy, options.seed, processes)
        plan = work / "plan.parquet"
        marked_tables = exclude_held_out(tables, held_out, options.near_duplicate_distance, processes)
        counts = shuffle(marked_tables, count_rows(tables), plan, out / LEDGER, options.samples_per_shard)
        if source.num_samples not in (None, counts.total()):
            raise InputError(
                f"{out}: the row accounting does not balance: {source.num_samples:,} input images, "
                f"{counts.total():,} outcomes; {_RESTART_HINT}"
            )
        if not counts[KEPT]:
            listed = ", ".join(f"{outcome} {number:,}" for outcome, number in counts.most_common())
            raise InputError(f"{out}: none of {counts.total():,} images can be packed ({listed})")
        num_shards = pq.read_metadata(plan).num_row_groups
        _remove_leftovers(out, num_shards)
        tasks = [(plan, index, out / f"{index:06d}.tar") for index in range(num_shards)]
        shards = list(parallel_map(_write_planned_shard, tasks, processes, counts[KEPT], "writing shards"))
        write_outcomes(outcomes, counts, counts.total())
        manifest = {
            "samples": counts[KEPT],
            "bytes": sum(int(shard["bytes"]) for shard in shards),
            "sha256": _content_sha256(plan),
            **source.provenance,
            "seed": options.seed,
            "perceptual_hash": HASH_VERSION,
            "outcomes": dict(sorted(counts.items())),
            "ledger_sha256": sha256_file(out / LEDGER),
            "shards": shards,
            "statistics": corpus_statistics(plan),
        }
        write_json(out / MANIFEST, with_checksum(manifest))
        shutil.rmtree(work)
    return counts


def _check_replaceable(out: Path) -> None:
    """Raise `InputError` if files that would be overwritten or deleted are not of an earlier packing."""
    if any((out / name).exists() for name in (MANIFEST, LEDGER, _WORK)):
        return
    for suffix in ("tar", "parquet"):
        for file in sorted_glob(out, f"[0-9]*.{suffix}"):
            raise InputError(f"{file}: not written by a packing; empty the folder, or give another --out")


def _remove_leftovers(out: Path, num_shards: int) -> None:
    """Remove temporary files of killed runs, and shards beyond the plan's last one."""
    for name in (MANIFEST, LEDGER):
        for leftover in sorted_glob(out, f".{Path(name).stem}.*{Path(name).suffix}"):
            leftover.unlink()
    for suffix in ("tar", "parquet"):
        shard_files = sorted_glob(out, f"[0-9]*.{suffix}")
        unplanned = [file for file in shard_files if not file.stem.isdigit() or int(file.stem) >= num_shards]
        for leftover in chain(sorted_glob(out, f".[0-9]*.{suffix}"), unplanned):
            leftover.unlink()


def _write_planned_shard(task: tuple[Path, int, Path]) -> ShardEntry:
    plan, index, tar = task
    with io_errors_at(plan):
        rows = open_parquet(plan).read_row_group(index)
    plan_hash = sha256()
    for name in ("uid", "sha256", "caption", "record"):
        plan_hash.update("\n".join(rows[name].to_pylist()).encode("utf-8") + b"\n")
    plan_hash.update(b"\n".join(phash or b"none" for phash in rows["perceptual_hash"].to_pylist()))
    entry = finished_shard(tar, plan_hash.hexdigest())
    if entry is None:
        entry = write_shard(tar, _read_samples(rows), plan_hash.hexdigest())
    else:
        advance(len(rows))
    return entry


def _read_samples(table: pa.Table) -> Iterator[Sample]:
    rows = table.to_pylist()
    for index, row in enumerate(rows):
        if index % _READAHEAD == 0:
            _prefetch(rows[index + _READAHEAD : index + 2 * _READAHEAD] if index else rows[: 2 * _READAHEAD])
        file = Path(os.fsdecode(row["file"]))
        image = read_byte_range((file, row["offset"], row["length"]))
        if sha256(image).hexdigest() != row["sha256"]:
            raise InputError(f"{file}: image {row['uid']} changed after its validation; {_RESTART_HINT}")
        yield Sample(
            row["uid"],
            image,
            *(row[name] for name in ("caption", "sha256", "width", "height", "record", "perceptual_hash")),
        )
        advance()


def _prefetch(rows: list[dict[str, Any]]) -> None:
    """Have the operating system read the images of these rows in the background."""
    for row in rows:
        try:
            descriptor = os.open(row["file"], os.O_RDONLY)
        except OSError:
            continue  # reported when the image is read
        os.posix_fadvise(descriptor, row["offset"], row["length"], os.POSIX_FADV_WILLNEED)
        os.close(descriptor)


def _content_sha256(plan: Path) -> str:
    content = ContentHash()
    for batch in open_parquet(plan).iter_batches(columns=["uid", "sha256", "caption"]):
        for row in batch.to_pylist():
            content.add(row["uid"], row["sha256"], row["caption"])
    return content.hexdigest()
