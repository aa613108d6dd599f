"""Links to images: img2dataset does it, and every link ends in exactly one fate."""

import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from dataclasses import asdict, dataclass
from hashlib import sha256
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from tqdm import tqdm

from cloob.download.fates import write_fates
from cloob.download.folder import claim, drop_torn_parts, note_links, progress, whole_parts
from cloob.download.guard import ENVIRONMENT, Guard
from cloob.download.outcomes import fate_of
from cloob.errors import InputError
from cloob.files import sha256_of

_LOG = "img2dataset.log"
_LOOK_SECONDS = 0.2


@dataclass(frozen=True)
class Images:
    """What is kept of a link: together with the links this makes a folder's fingerprint."""

    image_size: int
    quality: int
    maximum_aspect_ratio: float
    minimum_size: int
    samples_per_shard: int


@dataclass(frozen=True)
class Effort:
    """How hard and how fast it is tried; may change from one start to the next."""

    timeout: int
    retries: int
    processes: int
    threads: int


def fetch(
    links: Path, folder: Path, fates: Path, images: Images, effort: Effort, guard: Guard
) -> Counter[str]:
    """Fetch all links into webdataset tars in `folder`, or go on with it; return the links by fate.

    Images are scaled down to fit `image_size`, keeping their ratio; those that fit already keep
    their bytes. Raises `InputError` where the folder is not ours, img2dataset fails, or a link has
    no fate or two.
    """
    try:
        total = pq.read_metadata(links).num_rows
    except (OSError, pa.ArrowException) as error:
        raise InputError(
            f"{links}: no table of links ({error}); make it with `cloob download cc|yfcc`"
        ) from None
    links_sha256 = sha256_of(links)
    content = json.dumps({"links": links_sha256, "images": asdict(images)}, sort_keys=True)
    if claim(folder, sha256(content.encode()).hexdigest()):
        print(f"{folder}: an earlier fetch of the same links goes on", file=sys.stderr)
    note_links(folder, links_sha256)
    drop_torn_parts(folder)
    if len(whole_parts(folder)) < -(-total // images.samples_per_shard):
        _run(folder, total, _options(links, folder, images, effort), guard)
    found = _fates(folder, links)
    write_fates(fates, found, total)
    return found


def _options(links: Path, folder: Path, images: Images, effort: Effort) -> dict[str, object]:
    return {
        "url_list": str(links),
        "input_format": "parquet",
        "url_col": "url",
        "caption_col": "caption",
        "save_additional_columns": ["uid"],
        "output_folder": str(folder),
        "output_format": "webdataset",
        "number_sample_per_shard": images.samples_per_shard,
        "resize_mode": "keep_ratio_largest",
        "resize_only_if_bigger": True,
        "skip_reencode": True,
        "image_size": images.image_size,
        "encode_quality": images.quality,
        "max_aspect_ratio": images.maximum_aspect_ratio,
        "min_image_size": images.minimum_size,
        "extract_exif": False,
        "compute_hash": "sha256",
        "timeout": effort.timeout,
        "retries": effort.retries,
        "processes_count": effort.processes,
        "thread_count": effort.threads,
        "incremental_mode": "incremental",
        # Servers are told who asks; those that opted out (X-Robots-Tag) are heeded.
        "user_agent_token": "cloob-paper-reproduction",
        "disallowed_header_directives": ["noai", "noimageai", "noindex", "noimageindex"],
    }


def _run(folder: Path, total: int, options: dict[str, object], guard: Guard) -> None:
    """Run img2dataset beside us, its chatter in a log, its progress on a bar."""
    log = folder / _LOG
    command = [sys.executable, "-m", "cloob.download.img2dataset_job", json.dumps(options)]
    seen: dict[str, tuple[int, int]] = {}
    with (
        log.open("ab") as chatter,
        tqdm(total=total, unit=" links", desc=str(folder), mininterval=1) as bar,
        subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=chatter,
            stderr=chatter,
            start_new_session=True,
            env=os.environ | {ENVIRONMENT: json.dumps(asdict(guard))},
        ) as job,
    ):
        try:
            while job.poll() is None:
                time.sleep(_LOOK_SECONDS)
                done, kept = progress(folder, seen)
                if done > bar.n:
                    bar.set_postfix_str(f"{kept / done:.1%} kept", refresh=False)
                    bar.update(done - bar.n)
        finally:
            if job.poll() is None:
                os.killpg(job.pid, signal.SIGKILL)
    if job.returncode:
        last = log.read_text(encoding="utf-8", errors="replace").strip().rpartition("\n")[2]
        raise InputError(
            f"{log}: img2dataset ended with status {job.returncode} ({last}); run again to go on"
        )


def _fates(folder: Path, links: Path) -> Counter[str]:
    """Links by fate, read from img2dataset's tables; checks that every link is there once."""
    found: Counter[str] = Counter()
    uids = []
    for part in whole_parts(folder):
        table = pq.read_table(part.table, columns=["uid", "status", "error_message"])
        uids.append(table["uid"])
        pairs = table.group_by(["status", "error_message"]).aggregate([([], "count_all")])
        for row in pairs.to_pylist():
            found[fate_of(row["status"], row["error_message"])] += row["count_all"]
    wanted = pq.read_table(links, columns=["uid"])["uid"]
    met = pa.chunked_array([chunk for column in uids for chunk in column.chunks], type=pa.string())
    unmet = len(wanted) - pc.sum(pc.is_in(wanted, value_set=met)).as_py() if len(wanted) else 0
    if unmet or len(met) != len(wanted):
        raise InputError(
            f"{folder}: {unmet:,} of {len(wanted):,} links have no fate, {len(met):,} fates in all; "
            f"run again to go on, and if it stays, see {folder / _LOG}"
        )
    return found
