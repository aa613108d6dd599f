"""A round: img2dataset asks once for each of some links, beside us, into a folder of its own."""

import json
import os
import re
import socket
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, replace
from hashlib import sha256
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from tqdm import tqdm

from cloob.common.accounting import KEPT
from cloob.common.atomic_files import atomic_write, open_no_follow
from cloob.common.errors import InputError
from cloob.download.fetch.completed_tars import claim, drop_torn, read_whole
from cloob.download.fetch.guard import Guard

_LOOK_SECONDS = 1
_REASONS_SHOWN = 3


@dataclass(frozen=True)
class Images:
    """What is kept of a link: together with the links this makes a folder's fingerprint."""

    image_size: int
    quality: int
    max_aspect_ratio: float
    min_size: int
    samples_per_tar: int


@dataclass(frozen=True)
class Effort:
    """How hard and how fast it is tried; may change from one start to the next."""

    user_agent: str
    requests_per_second: float
    timeout: int
    retries: int
    rounds: int
    seconds_between_rounds: int
    processes: int
    threads: int


def run_round(
    folder: Path, wanted: pa.Table, images: Images, effort: Effort, guard: Guard, title: str
) -> pa.Table:
    """Fetch the links of `wanted` (uid, url) into `folder`, or go on with it.

    Returns a row per link in the same order: uid, outcome, http_status, sha256, tar (in the folder), offset,
    length. Raises `InputError` where the folder is not ours, img2dataset fails, or a link has no outcome or two.
    """
    # img2dataset reads its list when it starts; outside, because it is no part of what it leaves.
    links, log = folder.with_name(f"{folder.name}_urls.parquet"), folder.with_name(f"{folder.name}.log")
    if claim(folder, _fingerprint(wanted, images)):
        print(f"{folder}: an earlier fetch of the same links goes on", file=sys.stderr)
    whole: dict[str, pa.Table] = {}
    with _Progress(total=len(wanted), unit=" links", desc=title, mininterval=1, smoothing=0) as progress:
        progress.add(read_whole(folder, whole))
        drop_torn(folder, whole)
        if progress.n < len(wanted):
            progress.begin()
            with atomic_write(links) as beside:
                pq.write_table(wanted, beside)
            tars = -(-len(wanted) // images.samples_per_tar)
            effort = replace(effort, processes=min(effort.processes, tars))
            with _plain_path(folder.parent) as parent:
                job = {
                    "options": options_of(parent / links.name, parent / folder.name, images, effort),
                    "guard": asdict(guard),
                    "requests_per_second": effort.requests_per_second,
                }
                for _ in _img2dataset(job, log):
                    progress.add(read_whole(folder, whole))
    return _rows(folder, wanted, whole, log)


class _Progress(tqdm):
    """The bar of a round: links/s, the time left, and `25 images/s, 71% kept, http_404 512, timeout 88`."""

    def __init__(self, **options: object) -> None:
        self.found: Counter[str] = Counter()
        self.held, self.began = 0, time.monotonic()
        super().__init__(**options)

    def begin(self) -> None:
        """What is held already says nothing of the speed."""
        self.initial, self.held, self.began = self.n, self.found[KEPT], time.monotonic()

    def add(self, tables: list[pa.Table]) -> None:
        """Count the links of tars that have become whole."""
        for table in tables:
            self.found.update(table["outcome"].to_pylist())
            refused = Counter({outcome: rows for outcome, rows in self.found.items() if outcome != KEPT})
            reasons = "".join(
                f", {outcome} {rows:,}" for outcome, rows in refused.most_common(_REASONS_SHOWN)
            )
            speed = (self.found[KEPT] - self.held) / max(time.monotonic() - self.began, 1)
            share = self.found[KEPT] / sum(self.found.values())
            self.set_postfix_str(f"{speed:.0f} images/s, {share:.0%} kept{reasons}", refresh=False)
            self.update(len(table))


def _fingerprint(wanted: pa.Table, images: Images) -> str:
    content = sha256(json.dumps(asdict(images), sort_keys=True).encode())
    for batch in wanted.to_batches():
        for uid, url in zip(batch["uid"].to_pylist(), batch["url"].to_pylist(), strict=True):
            content.update(f"\n{uid}\t{url}".encode())
    return content.hexdigest()


@contextmanager
def _plain_path(folder: Path) -> Iterator[Path]:
    """A path of a folder without patterns (`*`) and protocols (`::`), which img2dataset would see in it."""
    path = folder.resolve()
    if re.fullmatch(r"[^*?\[\]{}:]*", str(path)):
        yield path
        return
    with tempfile.TemporaryDirectory(prefix="cloob-") as beside:
        link = Path(beside, "folder")
        link.symlink_to(path)
        yield link


def options_of(links: Path, folder: Path, images: Images, effort: Effort) -> dict[str, object]:
    """What img2dataset is told."""
    return {
        "url_list": str(links),
        "input_format": "parquet",
        "url_col": "url",
        "save_additional_columns": ["uid"],
        "output_folder": str(folder),
        "output_format": "webdataset",
        "number_sample_per_shard": images.samples_per_tar,
        "resize_mode": "keep_ratio_largest",
        "resize_only_if_bigger": True,
        "skip_reencode": True,
        "image_size": images.image_size,
        "encode_quality": images.quality,
        "max_aspect_ratio": images.max_aspect_ratio,
        "min_image_size": images.min_size,
        "extract_exif": False,
        # It would hash what came over the network; the ledger wants what is kept.
        "compute_hash": None,
        "timeout": effort.timeout,
        "retries": effort.retries,
        "processes_count": effort.processes,
        "thread_count": effort.threads,
        "incremental_mode": "incremental",
        # Servers are told who asks; those that opted out (X-Robots-Tag) are heeded.
        "user_agent_token": effort.user_agent,
        "disallowed_header_directives": ["noai", "noimageai", "noindex", "noimageindex"],
    }


def _img2dataset(job: dict[str, object], log: Path) -> Iterator[None]:
    """Run img2dataset, its chatter in a log; yields now and then, and at its end.

    Raises `OSError` of the log's folder where one of its processes cannot write, `InputError` where it fails.
    """
    command = [sys.executable, "-m", "cloob.download.fetch.img2dataset_job", json.dumps(job)]
    # It ends with its input, all its workers with it, and takes its pace file away.
    ours, its = socket.socketpair()
    with ours, open(log, "ab", opener=open_no_follow) as chatter:
        with its:
            process = subprocess.Popen(
                command, stdin=its, stdout=chatter, stderr=chatter, start_new_session=True
            )
        with process:
            try:
                while process.poll() is None:
                    with suppress(subprocess.TimeoutExpired):
                        process.wait(_LOOK_SECONDS)
                    yield
                yield  # it may have ended while the caller looked at what was there before
            finally:
                ours.shutdown(socket.SHUT_WR)
        try:
            unwritable = ours.recv(16, socket.MSG_DONTWAIT)
        except BlockingIOError:  # nothing was written; a worker that ends later still holds the other side
            unwritable = b""
    if unwritable:
        number = int(unwritable)
        raise OSError(number, os.strerror(number), str(log.parent))
    if process.returncode:
        last = log.read_text(encoding="utf-8", errors="replace").strip().rpartition("\n")[2]
        raise InputError(
            f"{log}: img2dataset ended with status {process.returncode} ({last}); run again to go on"
        )


def _rows(folder: Path, wanted: pa.Table, whole: dict[str, pa.Table], log: Path) -> pa.Table:
    """All rows in the order of the list; checks that every link is there once."""
    tables = [
        whole[name].append_column("tar", pa.array([f"{folder.name}/{name}.tar"] * len(whole[name])))
        for name in sorted(whole, key=int)
    ]
    rows = pa.concat_tables(tables).combine_chunks() if tables else None
    if rows is None or not rows["uid"].equals(wanted["uid"]):
        raise InputError(
            f"{folder}: {0 if rows is None else len(rows):,} outcomes of {len(wanted):,} links; run again to go "
            f"on, and if it stays, see {log}"
        )
    tar = pc.if_else(pc.is_valid(rows["sha256"]), rows["tar"], None)
    return rows.set_column(rows.schema.get_field_index("tar"), "tar", tar)
