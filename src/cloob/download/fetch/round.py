"""One round: img2dataset requests every URL once, in its own process and output folder."""

import json
import os
import re
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, replace
from hashlib import sha256
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from cloob.common.atomic_files import atomic_write, open_no_follow
from cloob.common.errors import InputError
from cloob.download.fetch.completed_tars import prepare_output_dir, read_completed_tars, remove_incomplete
from cloob.download.fetch.guard import Guard
from cloob.download.fetch.progress import RoundProgress

_POLL_SECONDS = 1


@dataclass(frozen=True)
class ImageOptions:
    """Options that determine the stored bytes. Changing them, or the URLs, starts the download over."""

    image_size: int
    quality: int
    max_aspect_ratio: float
    min_size: int
    samples_per_tar: int


@dataclass(frozen=True)
class FetchOptions:
    """How URLs are requested. These options may change when a download is resumed."""

    user_agent: str
    requests_per_second: float
    timeout: int
    retries: int
    retry_rounds: int
    seconds_between_rounds: int
    processes: int
    threads: int


def download_round(
    folder: Path,
    urls: pa.Table,
    image_options: ImageOptions,
    fetch_options: FetchOptions,
    guard: Guard,
    title: str,
) -> pa.Table:
    """Download, or resume downloading, `urls` (columns uid, url) into `folder`.

    Returns a row per URL in the same order: uid, outcome, http_status, sha256, tar (relative to the parent of
    `folder`), offset, length. Raises `InputError` if the folder was not created by a download, img2dataset
    fails, or a URL does not have exactly one outcome.
    """
    # Inputs and log of img2dataset, outside of its output folder.
    url_file, log = folder.with_name(f"{folder.name}_urls.parquet"), folder.with_name(f"{folder.name}.log")
    if prepare_output_dir(folder, _fingerprint(urls, image_options)):
        print(f"{folder}: resuming an earlier download of the same URLs", file=sys.stderr)
    completed: dict[str, pa.Table] = {}
    with RoundProgress(total=len(urls), unit=" URLs", desc=title, mininterval=1, smoothing=0) as progress:
        progress.add(read_completed_tars(folder, completed))
        remove_incomplete(folder, completed)
        if progress.n < len(urls):
            progress.start()
            with atomic_write(url_file) as temporary:
                pq.write_table(urls, temporary)
            num_tars = -(-len(urls) // image_options.samples_per_tar)
            fetch_options = replace(fetch_options, processes=min(fetch_options.processes, num_tars))
            with _plain_path(folder.parent) as parent:
                options = img2dataset_options(
                    parent / url_file.name, parent / folder.name, image_options, fetch_options
                )
                job = {
                    "options": options,
                    "guard": asdict(guard),
                    "requests_per_second": fetch_options.requests_per_second,
                }
                for _ in _run_img2dataset(job, log):
                    progress.add(read_completed_tars(folder, completed))
    return _merge_tars(folder, urls, completed, log)


def _fingerprint(urls: pa.Table, image_options: ImageOptions) -> str:
    content = sha256(json.dumps(asdict(image_options), sort_keys=True).encode())
    for batch in urls.to_batches():
        for uid, url in zip(batch["uid"].to_pylist(), batch["url"].to_pylist(), strict=True):
            content.update(f"\n{uid}\t{url}".encode())
    return content.hexdigest()


@contextmanager
def _plain_path(folder: Path) -> Iterator[Path]:
    """The folder's path, or a link if img2dataset would find a pattern (`*`) or protocol (`::`) in it."""
    path = folder.resolve()
    if re.fullmatch(r"[^*?\[\]{}:]*", str(path)):
        yield path
        return
    with tempfile.TemporaryDirectory(prefix="cloob-") as temporary:
        link = Path(temporary, "folder")
        link.symlink_to(path)
        yield link


def img2dataset_options(
    url_file: Path, folder: Path, image_options: ImageOptions, fetch_options: FetchOptions
) -> dict[str, object]:
    """The keyword arguments of `img2dataset.download`."""
    return {
        "url_list": str(url_file),
        "input_format": "parquet",
        "url_col": "url",
        "save_additional_columns": ["uid"],
        "output_folder": str(folder),
        "output_format": "webdataset",
        "number_sample_per_shard": image_options.samples_per_tar,
        "resize_mode": "keep_ratio_largest",
        "resize_only_if_bigger": True,
        "skip_reencode": True,
        "image_size": image_options.image_size,
        "encode_quality": image_options.quality,
        "max_aspect_ratio": image_options.max_aspect_ratio,
        "min_image_size": image_options.min_size,
        "extract_exif": False,
        # It would hash the downloaded bytes; the ledger has the hash of the stored bytes.
        "compute_hash": None,
        "timeout": fetch_options.timeout,
        "retries": fetch_options.retries,
        "processes_count": fetch_options.processes,
        "thread_count": fetch_options.threads,
        "incremental_mode": "incremental",
        # Identify ourselves to servers, and respect their opt-out (X-Robots-Tag).
        "user_agent_token": fetch_options.user_agent,
        "disallowed_header_directives": ["noai", "noimageai", "noindex", "noimageindex"],
    }


def _run_img2dataset(job: dict[str, object], log: Path) -> Iterator[None]:
    """Run img2dataset with its output in `log`; yield every second, and once after its end.

    Raises `OSError` for the log's folder if one of its processes cannot write, `InputError` if it fails.
    """
    command = [sys.executable, "-m", "cloob.download.fetch.img2dataset_job", json.dumps(job)]
    # The child kills itself and its workers, and deletes its rate-limit file, once its input closes.
    parent_end, child_end = socket.socketpair()
    with parent_end, open(log, "ab", opener=open_no_follow) as output:
        with child_end:
            process = subprocess.Popen(
                command, stdin=child_end.fileno(), stdout=output, stderr=output, start_new_session=True
            )
        with process:
            try:
                while process.poll() is None:
                    with suppress(subprocess.TimeoutExpired):
                        process.wait(_POLL_SECONDS)
                    yield
                yield  # it may have completed tars while the caller was reading the earlier ones
            finally:
                parent_end.shutdown(socket.SHUT_WR)
        try:
            write_error = parent_end.recv(16, socket.MSG_DONTWAIT)
        except BlockingIOError:  # nothing was reported; a worker that is still exiting holds the other end
            write_error = b""
    if write_error:
        number = int(write_error)
        raise OSError(number, os.strerror(number), str(log.parent))
    if process.returncode:
        last_line = log.read_text(encoding="utf-8", errors="replace").strip().rpartition("\n")[2]
        raise InputError(
            f"{log}: img2dataset exited with status {process.returncode} ({last_line}); run again to resume"
        )


def _merge_tars(folder: Path, urls: pa.Table, completed: dict[str, pa.Table], log: Path) -> pa.Table:
    """The rows of all tars in list order. Raises `InputError` unless every URL has exactly one row."""
    tables = [
        completed[name].append_column("tar", pa.array([f"{folder.name}/{name}.tar"] * len(completed[name])))
        for name in sorted(completed, key=int)
    ]
    rows = pa.concat_tables(tables).combine_chunks() if tables else None
    if rows is None or not rows["uid"].equals(urls["uid"]):
        raise InputError(
            f"{folder}: {0 if rows is None else len(rows):,} outcomes for {len(urls):,} URLs; run again to "
            f"resume, and if the error persists, see {log}"
        )
    tar = pc.if_else(pc.is_valid(rows["sha256"]), rows["tar"], None)
    return rows.set_column(rows.schema.get_field_index("tar"), "tar", tar)
