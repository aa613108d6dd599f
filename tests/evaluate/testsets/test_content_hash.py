"""Content hashes: one `stat` per file and process, compact, and the same values as from whole lists."""

import json
import os
import time
import tracemalloc
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path

import numpy as np
import pytest

from cloob.common.errors import InputError
from cloob.common.hashing import json_sha256, sha256_file
from cloob.evaluate.testsets import content_hash as module
from cloob.evaluate.testsets.content_hash import content_hash
from cloob.evaluate.testsets.image_folder import LabeledFolder
from cloob.evaluate.testsets.spec import load_spec

NAMES = ["a/0.png", 'b/"quoted", ü\udcff.png', "b/1.png"]


@pytest.fixture
def paths(tmp_path: Path) -> list[str]:
    files = [tmp_path / f"{number}" for number in range(len(NAMES))]
    for number, file in enumerate(files):
        file.write_bytes(bytes([number]) * number)
    return [str(file) for file in files]


@pytest.mark.parametrize("rows", [1, 2, 3, 10])
@pytest.mark.parametrize("count", [0, 1, 3])
def test_the_hash_is_that_of_names_and_file_hashes_as_json(
    paths: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, count: int, rows: int
) -> None:
    monkeypatch.setattr(module, "_ROWS_PER_CHUNK", rows)
    monkeypatch.setattr(module, "_FILES_PER_TASK", rows)
    names, paths = NAMES[:count], paths[:count]
    hashes = [sha256_file(path) for path in paths]
    content = content_hash(paths, names, tmp_path / "cache")
    assert content.sha256 == json_sha256([names, hashes])
    assert content.files.dtype == np.uint64
    assert content.files.tolist() == [int(value[:16], 16) for value in hashes]


def test_hashes_cached_by_earlier_versions_are_valid(paths: list[str], tmp_path: Path) -> None:
    status = [Path(path).stat() for path in paths]
    stamps = [[s.st_ino, s.st_size, s.st_mtime_ns, s.st_ctime_ns] for s in status]
    cached = tmp_path / "cache" / "contents" / f"{json_sha256([NAMES, stamps])}.json"
    cached.parent.mkdir(parents=True)
    cached.write_text(json.dumps({"sha256": "from the cache", "files": "00000000000000ff" * 3}))
    content = content_hash(paths, NAMES, tmp_path / "cache")
    assert content.sha256 == "from the cache"
    assert content.files.tolist() == [255, 255, 255]


def test_times_before_1970_are_valid(paths: list[str], tmp_path: Path) -> None:
    os.utime(paths[0], ns=(-(10**18), -(10**18)))
    assert content_hash(paths, NAMES, tmp_path / "cache").sha256


def test_a_missing_file_is_named(paths: list[str], tmp_path: Path) -> None:
    Path(paths[1]).unlink()
    with pytest.raises(InputError, match=f"^{paths[1]}: No such file or directory; unpack the test set"):
        content_hash(paths, NAMES, tmp_path / "cache")


def test_a_folder_is_hashed_once_per_process_with_one_stat_per_file(
    write_spec: Callable, tmp_path: Path, make_testset: Callable, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = LabeledFolder(load_spec(write_spec(tmp_path / "d.yaml")), make_testset({"a": 2, "b": 1, "c": 1}))
    calls: list[str] = []
    stat = os.stat

    def counted(path: str, *args: object, **kwargs: object) -> os.stat_result:
        if str(path).startswith(folder.root):
            calls.append(str(path))
        return stat(path, *args, **kwargs)

    monkeypatch.setattr(os, "stat", counted)
    for _ in range(5):
        folder.content_sha256(tmp_path / "cache")
        folder.content(tmp_path / "cache")
    assert sorted(calls) == [path for path, _ in folder.samples]


def test_files_are_read_by_several_threads(
    paths: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As on a file server that takes 0.2 seconds per call: 24 calls one after another would take five."""
    monkeypatch.setattr(module, "_FILES_PER_TASK", 1)
    stat = os.stat

    def slow(path: str) -> os.stat_result:
        time.sleep(0.2)
        return stat(path)

    monkeypatch.setattr(module.os, "stat", slow)
    start = time.perf_counter()
    module._fill(np.empty((24, 4), dtype=np.uint64), paths * 8, module._status)
    assert time.perf_counter() - start < 2.4


def test_memory_is_compact(tmp_path: Path) -> None:
    """Below 200 bytes per file at the peak; lists of statuses and hexadecimal hashes took 1,800."""
    count = 20_000
    file = tmp_path / "0"
    file.write_bytes(b"")
    paths, names = [str(file)] * count, [f"n{number:08d}" for number in range(count)]
    tracemalloc.start()
    try:
        content = content_hash(paths, names, tmp_path / "cache")
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert len(content.files) == count
    assert content.files[0] == int(sha256(b"").hexdigest()[:16], 16)
    assert peak < 200 * count + 16 * 2**18 + 8 * 2**20  # and the buffers of the threads and of a chunk
