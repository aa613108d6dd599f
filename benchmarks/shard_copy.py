"""Copy of shards to a node's local disk: eight threads that hash while copying; one that copies, then hashes.

Shards of random bytes are written below --source, and copied to --target. The page cache is emptied of them
before each copy (`posix_fadvise`), so `--source` on a disk is read from the disk.

With --stream-rate the source is a model of a shared file system: each open file yields at most so many MB/s,
as where a single stream is limited by latency. The reads sleep; nothing else differs.

With --disk-rate source and target are two ext4 file systems on loop devices, whose images are in memory; the
kernel limits the reads of the source's device, all files together. This needs Linux, root, and cgroups of
version 1 (`blkio`). Mounts and devices end with the script. Writes stay in the page cache, as in training.
"""

import argparse
import io
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from hashlib import sha256
from pathlib import Path, PosixPath
from typing import Any

from cloob.common.hashing import sha256_file
from cloob.common.json_files import read_json, write_json
from cloob.train.shard_copy import copy_shards
from cloob.train.signals import StopRequest

_INDEX_BYTES = 1 << 20
_READ_LIMIT = Path("/sys/fs/cgroup/blkio/blkio.throttle.read_bps_device")


class _SlowFile(io.FileIO):
    """A file whose reads take as long as `rate` (bytes per second) allows."""

    rate = float("inf")

    def readinto(self, buffer: Any) -> int:
        start = time.perf_counter()
        size = super().readinto(buffer)
        time.sleep(max(0.0, size / self.rate - (time.perf_counter() - start)))
        return size


class _SlowPath(PosixPath):
    def open(self, mode: str = "r", *_: Any, **__: Any) -> Any:  # type: ignore[override]
        return _SlowFile(self, mode)


@contextmanager
def _limited_disks(megabytes: int, rate: float) -> Iterator[tuple[Path, Path]]:
    """The folders of a disk that delivers `rate` MB/s and of an unlimited one, each of so many megabytes."""
    with tempfile.TemporaryDirectory(dir="/dev/shm") as parent:
        folders = Path(parent, "source"), Path(parent, "target")
        for folder in folders:
            image = folder.with_suffix(".img")
            image.touch()
            os.truncate(image, megabytes * 1_000_000)
            subprocess.run(["mkfs.ext4", "-q", "-F", "-m", "0", image], check=True)
            folder.mkdir()
            subprocess.run(["mount", "-o", "loop", image, folder], check=True)
        device = folders[0].stat().st_dev
        limit = f"{os.major(device)}:{os.minor(device)} "
        try:
            _READ_LIMIT.write_text(f"{limit}{rate * 1e6:.0f}")
            yield folders
        finally:
            _READ_LIMIT.write_text(f"{limit}0")
            for folder in folders:
                subprocess.run(["umount", folder], check=False)


def main() -> None:
    """Print a Markdown table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--shards", type=int, default=16, help="number of shards")
    parser.add_argument("--shard-mb", type=int, default=256, help="MB per shard")
    parser.add_argument("--source", type=Path, default=tempfile.gettempdir(), help="folder for the shards")
    parser.add_argument("--target", type=Path, default=tempfile.gettempdir(), help="folder for the copies")
    parser.add_argument("--stream-rate", type=float, default=0, help="MB/s of each open file, 0: unlimited")
    parser.add_argument("--disk-rate", type=float, help="MB/s of the source's disk: use two loop devices")
    parser.add_argument("--repeats", type=int, default=3, help="copies of each variant, taken alternately")
    options = parser.parse_args()
    _SlowFile.rate = options.stream_rate * 1e6 or float("inf")
    variants = {"one thread, then hash": _copy_then_hash, "ours": _copy_in_threads}
    times: dict[str, list[tuple[float, float]]] = {name: [] for name in variants}
    folders: Any = nullcontext((options.source, options.target))
    if options.disk_rate:
        if not _READ_LIMIT.exists():
            sys.exit(f"shard_copy.py --disk-rate: {_READ_LIMIT} is missing; mount cgroups of version 1")
        needed = options.shards * (options.shard_mb + 2)
        folders = _limited_disks(needed + needed // 10 + 50, options.disk_rate)
    with folders as (parent, target), tempfile.TemporaryDirectory(dir=parent) as source:
        path_class = _SlowPath if options.stream_rate else Path
        manifest = path_class(_write_shards(Path(source), options.shards, options.shard_mb * 1_000_000))
        for _ in range(options.repeats):
            for name, copy in variants.items():
                times[name].append(_time(copy, manifest, target))
    size = options.shards * options.shard_mb
    best = {name: min(values) for name, values in times.items()}
    slowest = max(seconds for seconds, _ in best.values())
    print("| variant | seconds | MB/s | × | CPU s |\n|---|---|---|---|---|")
    for name, (seconds, cpu) in best.items():
        print(f"| {name} | {seconds:.1f} | {size / seconds:,.0f} | {slowest / seconds:.2f} | {cpu:.1f} |")


def _write_shards(folder: Path, count: int, size: int) -> Path:
    entries = []
    for number in range(count):
        tar, index = folder / f"{number:06d}.tar", folder / f"{number:06d}.parquet"
        content = os.urandom(size)
        tar.write_bytes(content)
        index.write_bytes(content[:_INDEX_BYTES])
        hashes = {"sha256": sha256(content).hexdigest(), "index_sha256": sha256_file(index)}
        entries.append({"name": tar.name, "samples": 0, "bytes": size} | hashes)
    write_json(folder / "shards.json", {"samples": 0, "sha256": "", "shards": entries})
    return folder / "shards.json"


def _copy_then_hash(manifest: Path, folder: Path) -> None:
    """As before: one thread copies each shard, then reads the copy."""
    for shard in read_json(manifest)["shards"]:
        tar = manifest.parent / shard["name"]
        for file in (tar, tar.with_suffix(".parquet")):
            if isinstance(file, _SlowPath):
                with file.open("rb") as reader, (folder / file.name).open("wb") as writer:
                    shutil.copyfileobj(io.BufferedReader(reader, 1 << 20), writer, 1 << 20)
            else:
                shutil.copyfile(file, folder / file.name)
        if sha256_file(folder / tar.name) != shard["sha256"]:
            sys.exit(f"{tar}: differs")
    write_json(folder / manifest.name, {})


def _copy_in_threads(manifest: Path, folder: Path) -> None:
    copy_shards(manifest, folder, StopRequest())


def _time(copy: Callable[[Path, Path], None], manifest: Path, target: Path) -> tuple[float, float]:
    """Wall and CPU seconds of one copy from an empty page cache."""
    for file in Path(manifest.parent).iterdir():
        descriptor = os.open(file, os.O_RDONLY)
        os.fsync(descriptor)
        os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
        os.close(descriptor)
    with tempfile.TemporaryDirectory(dir=target) as folder:
        before, start = resource.getrusage(resource.RUSAGE_SELF), time.perf_counter()
        copy(manifest, Path(folder))
        seconds, after = time.perf_counter() - start, resource.getrusage(resource.RUSAGE_SELF)
        if not Path(folder, "shards.json").exists():
            sys.exit("the copy is not complete")
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return seconds, cpu


if __name__ == "__main__":
    main()
