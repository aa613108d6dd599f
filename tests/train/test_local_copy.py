"""The folder for copies of the shards: one that exists on this node, and in it only what is ours."""

import os
from pathlib import Path

import pytest
import torch
import torch.distributed as dist

from cloob.common.errors import InputError
from cloob.common.locks import exclusive_dir_lock
from cloob.shards.reader import Shards
from cloob.train.distributed import World
from cloob.train.local_copy import on_scratch, scratch_folder
from cloob.train.signals import StopRequest


@pytest.fixture
def world():
    dist.init_process_group("gloo", store=dist.HashStore(), rank=0, world_size=1)
    yield World(0, 1, torch.device("cpu"))
    dist.destroy_process_group()


@pytest.mark.parametrize(
    ("scratch", "said"),
    [
        ("$CLOOB_NOT_SET", r"\$CLOOB_NOT_SET is not set in this job"),
        ("~no such user/x", "~no such user is no user here; name a folder"),
        ("/local/${CLOOB_NOT_SET}/x", r"\$CLOOB_NOT_SET is not set in this job"),
        ("$CLOOB_EMPTY", r"\$CLOOB_EMPTY is empty in this job"),
        ("${CLOOB_NOT_SET:-/tmp}", r"only \$NAME and \$\{NAME\} are replaced"),
        ("$(mktemp -d)", r"only \$NAME and \$\{NAME\} are replaced"),
        ("scratch", "not an absolute path"),
        ("$CLOOB_RELATIVE", "not an absolute path"),
    ],
)
def test_a_folder_that_does_not_exist_on_the_node_is_refused_and_not_made(
    shards, world, tmp_path, monkeypatch, scratch, said
):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("CLOOB_EMPTY", "")
    monkeypatch.setenv("CLOOB_RELATIVE", "here")
    with pytest.raises(InputError, match=said), on_scratch(shards, scratch, world, StopRequest()):
        pass
    assert list(tmp_path.iterdir()) == []


def test_variables_are_replaced_by_their_values(monkeypatch):
    monkeypatch.setenv("NODE_DISK", "/local/disk $1")
    monkeypatch.setenv("HOME", "/home/me")
    assert scratch_folder("${NODE_DISK}/x") == Path("/local/disk $1/x")
    assert scratch_folder("~/x") == Path("/home/me/x")


def test_nobody_else_may_read_or_change_the_copy(shards, world, tmp_path):
    with on_scratch(shards, str(tmp_path / "node"), world, StopRequest()) as copy:
        assert copy.parent.stat().st_mode & 0o777 == 0o700
        assert len(Shards(copy)) == 22
    assert list((tmp_path / "node").iterdir()) == []


def test_a_link_named_lock_in_a_strangers_folder_costs_nobody_a_file(shards, world, tmp_path):
    """On a disk that others can write to: links to our files and folders, and folders of other people."""
    precious = tmp_path / "precious"
    precious.mkdir()
    (precious / "lock").write_text("mine")
    planted = tmp_path / "node" / "cloob-shards-0666"
    planted.mkdir(parents=True)
    (planted / "lock").symlink_to(precious / "lock")
    (tmp_path / "node" / "cloob-shards-link").symlink_to(precious)
    other = tmp_path / "node" / "cloob-shards-other"
    other.mkdir()
    (other / "000000.tar").write_text("theirs")
    if os.geteuid() == 0:
        os.chown(other, 65534, 65534)
    with on_scratch(shards, str(tmp_path / "node"), world, StopRequest()):
        pass
    assert (precious / "lock").read_text() == "mine"
    assert (tmp_path / "node" / "cloob-shards-link").is_symlink()
    assert (other / "000000.tar").exists() == (os.geteuid() == 0)


def test_a_copy_that_is_in_use_stays_and_a_dead_one_goes(shards, world, tmp_path):
    for name in ("cloob-shards-used", "cloob-shards-dead"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "000000.tar").write_text("half")
    child = os.fork()
    if child == 0:
        with exclusive_dir_lock(tmp_path / "cloob-shards-used"):
            (tmp_path / "held").touch()
            while not (tmp_path / "end").exists():
                os.sched_yield()
        os._exit(0)
    while not (tmp_path / "held").exists():
        os.sched_yield()
    with on_scratch(shards, str(tmp_path), world, StopRequest()):
        assert (tmp_path / "cloob-shards-used").exists()
        assert not (tmp_path / "cloob-shards-dead").exists()
    (tmp_path / "end").touch()
    os.waitpid(child, 0)
