"""From what came in to the shards that training reads: judged, shuffled once globally, written, described.

The images are read twice: as they lie, to be judged, and in the order of the shards, to be written.
"""

import os
import shutil
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from hashlib import sha256
from itertools import chain
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from cloob.common.accounting import KEPT, write_outcomes
from cloob.common.directories import sorted_glob
from cloob.common.errors import InputError, io_errors_at
from cloob.common.hashing import sha256_file
from cloob.common.json_files import write_json
from cloob.common.locks import exclusive_dir_lock
from cloob.common.pool import advance, parallel_map
from cloob.images.near_duplicates import DEFAULT_DISTANCE
from cloob.shards.held_out import count_rows, exclude_held_out, read_held_out
from cloob.shards.manifest import ContentHash, with_checksum
from cloob.shards.shuffle import shuffle
from cloob.shards.source import PackSource, read_byte_range
from cloob.shards.statistics import statistics_of
from cloob.shards.training_image import ImagePolicy
from cloob.shards.validate import validate_images
from cloob.shards.writer import Sample, ShardEntry, finished_shard, write_shard

MANIFEST = "shards.json"
LEDGER = "ledger.parquet"
# What a run leaves for the next one until the corpus is packed.
_WORK = "work"
# Images that the operating system is asked for ahead: random reads overlap instead of waiting in turn.
_AHEAD = 64
_AFRESH = f"delete the folder {_WORK} beside the shards and run again"


@dataclass(frozen=True)
class PackOptions:
    """How a corpus is packed."""

    samples_per_shard: int
    seed: int
    rules: ImagePolicy
    near_duplicate_distance: int = DEFAULT_DISTANCE  # differing bits of the perceptual hashes, of 256


def pack(
    source: PackSource,
    out: Path,
    outcomes: Path,
    packing: PackOptions,
    processes: int,
    validation: Path | None = None,
) -> Counter[str]:
    """Judge what came in, drop images of the `validation` manifest and near-duplicates, write the shards.

    Killed at any moment, the next run keeps what is whole and ends the same, byte for byte; the manifest
    `shards.json` comes last. Returns the images by outcome. Raises `InputError` where nothing is left.
    """
    work = out / _WORK
    with exclusive_dir_lock(work), io_errors_at(work):
        (out / MANIFEST).unlink(missing_ok=True)  # without it nothing counts
        held_out = read_held_out(validation) if validation else None
        verdicts = validate_images(source, work / "verdicts", packing.rules, packing.seed, processes)
        plan, rows = work / "plan.parquet", count_rows(verdicts)
        tables = exclude_held_out(verdicts, held_out, packing.near_duplicate_distance, processes)
        found = shuffle(tables, rows, plan, out / LEDGER, packing.samples_per_shard)
        if source.rows not in (None, found.total()):
            raise InputError(
                f"{out}: the accounting do not balance: {source.rows:,} images came in, {found.total():,} have a "
                f"outcome; {_AFRESH}"
            )
        if not found[KEPT]:
            raise InputError(f"{out}: no image to pack is left of {found.total():,}: {dict(found)}")
        number = pq.read_metadata(plan).num_row_groups
        _clear(out, number)
        tasks = [(plan, index, out / f"{index:06d}.tar") for index in range(number)]
        shards = list(parallel_map(_write, tasks, processes, found[KEPT], "packing"))
        write_outcomes(outcomes, found, found.total())
        manifest = {
            "samples": found[KEPT],
            "bytes": sum(int(shard["bytes"]) for shard in shards),
            "sha256": _content_of(plan),
            **source.provenance,
            "seed": packing.seed,
            "outcomes": dict(sorted(found.items())),
            "ledger_sha256": sha256_file(out / LEDGER),
            "shards": shards,
            "statistics": statistics_of(plan),
        }
        write_json(out / MANIFEST, with_checksum(manifest))
        shutil.rmtree(work)
    return found


def _clear(out: Path, number: int) -> None:
    """Remove what was being written, and shards beyond the plan's."""
    for name in (MANIFEST, LEDGER):
        for leftover in sorted_glob(out, f".{Path(name).stem}.*{Path(name).suffix}"):
            leftover.unlink()
    for suffix in ("tar", "parquet"):
        whole = sorted_glob(out, f"[0-9]*.{suffix}")
        beyond = (file for file in whole if not file.stem.isdigit() or int(file.stem) >= number)
        for leftover in chain(sorted_glob(out, f".[0-9]*.{suffix}"), list(beyond)):
            leftover.unlink()


def _write(task: tuple[Path, int, Path]) -> ShardEntry:
    plan, index, tar = task
    with io_errors_at(plan):
        rows = pq.ParquetFile(plan).read_row_group(index)
    content = sha256()
    for name in ("uid", "sha256", "caption", "record"):
        content.update("\n".join(rows[name].to_pylist()).encode("utf-8") + b"\n")
    content.update(b"\n".join(each or b"none" for each in rows["perceptual_hash"].to_pylist()))
    entry = finished_shard(tar, content.hexdigest())
    if entry is None:
        entry = write_shard(tar, _samples(rows), content.hexdigest())
    else:
        advance(len(rows))
    return entry


def _samples(rows: pa.Table) -> Iterator[Sample]:
    rows = rows.to_pylist()
    for number, row in enumerate(rows):
        if number % _AHEAD == 0:
            _ask_for(rows[number + _AHEAD : number + 2 * _AHEAD] if number else rows[: 2 * _AHEAD])
        file = Path(os.fsdecode(row["file"]))
        image = read_byte_range((file, row["offset"], row["length"]))
        if sha256(image).hexdigest() != row["sha256"]:
            raise InputError(f"{file}: {row['uid']} changed since it was judged; {_AFRESH}")
        yield Sample(
            row["uid"],
            image,
            *(row[name] for name in ("caption", "sha256", "width", "height", "record", "perceptual_hash")),
        )
        advance()


def _ask_for(rows: list[dict[str, object]]) -> None:
    for row in rows:
        try:
            number = os.open(row["file"], os.O_RDONLY)
        except OSError:
            continue  # reading it will say so
        os.posix_fadvise(number, row["offset"], row["length"], os.POSIX_FADV_WILLNEED)
        os.close(number)


def _content_of(plan: Path) -> str:
    content = ContentHash()
    for batch in pq.ParquetFile(plan).iter_batches(columns=["uid", "sha256", "caption"]):
        for row in batch.to_pylist():
            content.add(row["uid"], row["sha256"], row["caption"])
    return content.hexdigest()
