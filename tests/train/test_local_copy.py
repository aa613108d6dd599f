"""Local copies of shards: the folder is validated, and other users' files in it are not touched."""

import os
from pathlib import Path

import pytest

from cloob.common.errors import InputError
from cloob.common.locks import exclusive_dir_lock
from cloob.shards.reader import Shards
from cloob.train import local_copy
from cloob.train.local_copy import resolve_node_local_dir, stage_shards_locally
from cloob.train.signals import StopRequest


@pytest.mark.parametrize(
    ("node_local_dir", "message"),
    [
        ("$CLOOB_NOT_SET", r"\$CLOOB_NOT_SET is not set in this job"),
        ("~no such user/x", "there is no user ~no such user here; use a folder"),
        ("/local/${CLOOB_NOT_SET}/x", r"\$CLOOB_NOT_SET is not set in this job"),
        ("$CLOOB_EMPTY", r"\$CLOOB_EMPTY is empty in this job"),
        ("${CLOOB_NOT_SET:-/tmp}", r"only \$NAME and \$\{NAME\} are expanded"),
        ("$(mktemp -d)", r"only \$NAME and \$\{NAME\} are expanded"),
        ("scratch", "not an absolute path"),
        ("$CLOOB_RELATIVE", "not an absolute path"),
    ],
)
def test_an_invalid_folder_is_rejected_and_not_created(
    shards, context, tmp_path, monkeypatch, node_local_dir, message
):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("CLOOB_EMPTY", "")
    monkeypatch.setenv("CLOOB_RELATIVE", "here")
    with (
        pytest.raises(InputError, match=message),
        stage_shards_locally(shards, node_local_dir, context, StopRequest()),
    ):
        pass
    assert list(tmp_path.iterdir()) == []


def test_variables_and_home_folders_are_expanded(monkeypatch):
    monkeypatch.setenv("NODE_DISK", "/local/disk $1")
    monkeypatch.setenv("HOME", "/home/me")
    assert resolve_node_local_dir("${NODE_DISK}/x") == Path("/local/disk $1/x")
    assert resolve_node_local_dir("~/x") == Path("/home/me/x")


def test_the_copy_is_private_and_deleted_at_the_end(shards, context, tmp_path):
    with stage_shards_locally(shards, str(tmp_path / "node"), context, StopRequest()) as copy:
        assert copy.parent.stat().st_mode & 0o777 == 0o700
        assert len(Shards(copy)) == 22
    assert list((tmp_path / "node").iterdir()) == []


def test_symbolic_links_and_other_users_folders_are_not_touched(shards, context, tmp_path):
    """On a shared disk: symbolic links to this user's files and folders, and folders of other users."""
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
    with stage_shards_locally(shards, str(tmp_path / "node"), context, StopRequest()):
        pass
    assert (precious / "lock").read_text() == "mine"
    assert (tmp_path / "node" / "cloob-shards-link").is_symlink()
    assert (other / "000000.tar").exists() == (os.geteuid() == 0)


def test_a_copy_in_use_is_kept_and_a_stale_one_deleted(shards, context, tmp_path):
    for name in ("cloob-shards-used", "cloob-shards-stale"):
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
    with stage_shards_locally(shards, str(tmp_path), context, StopRequest()):
        assert (tmp_path / "cloob-shards-used").exists()
        assert not (tmp_path / "cloob-shards-stale").exists()
    (tmp_path / "end").touch()
    os.waitpid(child, 0)


def test_a_copy_is_not_stale_for_another_run_that_starts_before_it_is_locked(
    shards, context, tmp_path, monkeypatch
):
    def lock_after_another_start(folder):
        monkeypatch.setattr(local_copy, "exclusive_dir_lock", exclusive_dir_lock)
        before = list(tmp_path.iterdir())
        local_copy._delete_stale_copies(tmp_path)
        assert list(tmp_path.iterdir()) == before == [folder]
        return exclusive_dir_lock(folder)

    monkeypatch.setattr(local_copy, "exclusive_dir_lock", lock_after_another_start)
    with stage_shards_locally(shards, str(tmp_path), context, StopRequest()) as copy:
        assert list(tmp_path.iterdir()) == [copy.parent]
        assert copy.parent.name.startswith("cloob-shards-")
    assert list(tmp_path.iterdir()) == []
