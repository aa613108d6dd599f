"""Parallel copies of shards: every byte is read once and verified; an incomplete copy has no manifest."""

import os
import resource
import shutil
import signal
import threading
import time
from pathlib import Path
from types import SimpleNamespace

import pytest

from cloob.common.errors import InputError, user_message
from cloob.train import shard_copy
from cloob.train.shard_copy import copy_shards
from cloob.train.signals import StopRequest
from tests.helpers.io_errors import fail_reads_below, resource_limit


@pytest.fixture
def target(tmp_path):
    folder = tmp_path / "local"
    folder.mkdir()
    return folder


def files_of(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def bytes_read():
    """By all system calls of this process so far."""
    return int(Path("/proc/self/io").read_text().split()[1])


def test_the_copy_is_identical_and_every_byte_is_read_once(shards, target):
    expected = files_of(shards.parent)
    size = sum(map(len, expected.values()))
    copy_shards(shards, target, StopRequest())
    for path in target.iterdir():
        path.unlink()
    before = bytes_read()
    copy_shards(shards, target, StopRequest())
    assert size <= bytes_read() - before < 1.5 * size
    copy = files_of(target)
    assert set(copy) == set(expected)
    assert {name: copy[name] for name in copy if name != "shards.json"} == {
        name: expected[name] for name in expected if name != "shards.json"
    }


def test_files_are_copied_concurrently(shards, target, monkeypatch):
    copy_and_hash = shard_copy.copy_and_hash
    together = threading.Barrier(4, timeout=30)  # two shards and their indexes

    def copy(*arguments):
        together.wait()
        return copy_and_hash(*arguments)

    monkeypatch.setattr(shard_copy, "copy_and_hash", copy)
    copy_shards(shards, target, StopRequest())
    assert (target / "shards.json").exists()


def test_progress_is_shown_in_bytes(shards, target, capsys):
    copy_shards(shards, target, StopRequest())
    assert "copying to the local disk: 100%" in capsys.readouterr().err


class StopAfter(StopRequest):
    """A stop that is requested while the copy is in progress: when it has been asked so many times."""

    def __init__(self, times):
        self.times = times

    @property
    def requested(self):
        self.times -= 1
        return self.times < 0


def test_a_stop_ends_the_copy_within_a_block_per_thread(shards, target, monkeypatch):
    monkeypatch.setattr(shard_copy, "_BLOCK_BYTES", 1000)
    copy_shards(shards, target, StopAfter(20))
    assert not (target / "shards.json").exists()
    assert sum(path.stat().st_size for path in target.iterdir()) <= 20 * 1000


@pytest.mark.parametrize("name", ["000001.tar", "000001.parquet"])
def test_a_file_that_differs_from_the_manifest_is_named(shards, target, tmp_path, name):
    damaged = tmp_path / "shards"
    shutil.copytree(shards.parent, damaged)
    content = bytearray((damaged / name).read_bytes())
    content[-1] ^= 1
    (damaged / name).write_bytes(content)
    with pytest.raises(InputError, match=f"^{damaged / name}: the SHA-256 .* differs from the manifest"):
        copy_shards(damaged / "shards.json", target, StopRequest())
    assert not (target / "shards.json").exists()


def test_a_truncated_shard_is_named(shards, target, tmp_path):
    damaged = tmp_path / "shards"
    shutil.copytree(shards.parent, damaged)
    os.truncate(damaged / "000000.tar", 1000)
    with pytest.raises(InputError, match=f"^{damaged / '000000.tar'}: the SHA-256"):
        copy_shards(damaged / "shards.json", target, StopRequest())


def test_a_copy_that_does_not_fit_is_rejected_before_it_starts(shards, target, monkeypatch):
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=1000))
    with pytest.raises(InputError, match=r"GB are needed, 0\.0 GB are free; .*train\.node_local_dir"):
        copy_shards(shards, target, StopRequest())
    assert list(target.iterdir()) == []


def test_a_disk_that_fills_up_meanwhile_is_one_line_that_names_the_copy(shards, target):
    with resource_limit(resource.RLIMIT_FSIZE, 10_000), pytest.raises(OSError) as raised:
        copy_shards(shards, target, StopRequest())
    message = user_message(raised.value)
    assert message.startswith(f"{target}/00000")
    assert "File too large; raise the file size limit" in message
    assert "\n" not in message
    assert not (target / "shards.json").exists()


def test_a_failing_source_is_one_line_that_names_the_shard(shards, target, tmp_path, monkeypatch):
    source = tmp_path / "shards"
    shutil.copytree(shards.parent, source)
    content = shard_copy.read_manifest(source / "shards.json")
    monkeypatch.setattr(shard_copy, "read_manifest", lambda _: content)
    fail_reads_below(monkeypatch, source, 5)
    with pytest.raises(OSError) as raised:
        copy_shards(source / "shards.json", target, StopRequest())
    assert user_message(raised.value).startswith(f"{source}/00000")


def test_a_killed_copy_has_no_manifest(shards, target):
    child = os.fork()
    if child == 0:
        copy_and_hash = shard_copy.copy_and_hash

        def slow_copy(source, copy, advance, is_ending):
            return copy_and_hash(source, copy, lambda _: time.sleep(30), is_ending)

        shard_copy.copy_and_hash = slow_copy
        copy_shards(shards, target, StopRequest())
        os._exit(0)
    while len(list(target.iterdir())) < 4:
        time.sleep(0.01)
    os.kill(child, signal.SIGKILL)
    assert os.waitpid(child, 0)[1] == signal.SIGKILL
    assert sorted(path.suffix for path in target.iterdir()) == [".parquet", ".parquet", ".tar", ".tar"]
