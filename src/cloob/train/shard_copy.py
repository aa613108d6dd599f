"""Copy packed shards to another disk with several threads, hashing the bytes while they are copied."""

import shutil
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, as_completed
from hashlib import sha256
from pathlib import Path

from tqdm import tqdm

from cloob.common.errors import InputError, io_errors_at
from cloob.common.json_files import write_json
from cloob.shards.manifest import VERIFY_HINT, read_manifest
from cloob.train.signals import StopRequest

# A single stream does not use the bandwidth of a parallel file system; reading, hashing and writing release
# the GIL.
_THREADS = 8
_BLOCK_BYTES = 1 << 20


def copy_shards(manifest: Path, folder: Path, stop: StopRequest) -> None:
    """Copy all shards and indexes, verify their hashes, and finally copy the manifest, until `stop`.

    A folder without a manifest is incomplete, whether the copy was stopped, failed or was killed. Raises
    `InputError` if the copy does not fit or differs from the manifest, `OSError` for I/O errors.
    """
    content = read_manifest(manifest)
    hashes = {}  # of the files to copy
    for shard in content["shards"]:
        tar = manifest.parent / shard["name"]
        hashes[tar], hashes[tar.with_suffix(".parquet")] = shard["sha256"], shard["index_sha256"]
    needed = sum(file.stat().st_size for file in hashes)
    if (free := shutil.disk_usage(folder).free) < needed:
        raise InputError(
            f"{folder}: {needed / 1e9:,.1f} GB are needed, {free / 1e9:,.1f} GB are free; free space "
            "there, or use another disk (train.node_local_dir)"
        )
    if _copy_all(hashes, folder, needed, stop):
        write_json(folder / manifest.name, content)


def _copy_all(hashes: dict[Path, str], folder: Path, total: int, stop: StopRequest) -> bool:
    """Copy files of `total` bytes; returns whether all are complete. Ends all threads at the first error."""
    ending, lock = threading.Event(), threading.Lock()

    def advance(count: int) -> None:
        with lock:
            bar.update(count)

    def copy(file: Path) -> bool:
        digest = copy_and_hash(file, folder / file.name, advance, lambda: stop.requested or ending.is_set())
        if digest not in (None, hashes[file]):
            raise InputError(f"{file}: the SHA-256 of its copy differs from the manifest; {VERIFY_HINT}")
        return digest is not None

    bar = tqdm(total=total, unit="B", unit_scale=True, desc="copying to the local disk", mininterval=1)
    with bar, ThreadPoolExecutor(_THREADS) as pool:
        try:
            copies = [pool.submit(copy, file) for file in hashes]
            return all(done.result() for done in as_completed(copies))
        finally:
            ending.set()
            pool.shutdown(wait=False, cancel_futures=True)


def copy_and_hash(
    source: Path, target: Path, advance: Callable[[int], None], is_ending: Callable[[], bool]
) -> str | None:
    """Copy a file, calling `advance` with the bytes of each block; its SHA-256, None if ended before.

    I/O errors name the file that could not be read or written.
    """
    digest, buffer = sha256(), memoryview(bytearray(_BLOCK_BYTES))
    with io_errors_at(target), source.open("rb", buffering=0) as reader, target.open("xb") as writer:
        while not is_ending():
            with io_errors_at(source):
                size = reader.readinto(buffer)
            if not size:
                return digest.hexdigest()
            digest.update(buffer[:size])
            writer.write(buffer[:size])
            advance(size)
    return None
