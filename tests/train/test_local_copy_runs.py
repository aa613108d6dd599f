"""Whole runs of `cloob train` on a copy of the shards on the node's local disk."""

import os
import shutil

import pytest

from tests.helpers.training_runs import (
    assert_bit_identical,
    read_losses,
    run_train,
)

pytestmark = pytest.mark.timeout(300)


def test_a_run_on_a_local_copy_is_bit_identical_and_deletes_the_copy(finished_run, shards, model, tmp_path):
    local_disk = tmp_path / "node"
    environment = os.environ | {"NODE_DISK": str(local_disk)}
    options = ["--node-local-dir=$NODE_DISK"]
    done = run_train(shards, model, tmp_path / "run", options=options, environment=environment)
    assert done.returncode == 0, done.stderr
    assert "copying to the local disk" in done.stderr
    assert list(local_disk.iterdir()) == []
    assert_bit_identical(finished_run, tmp_path / "run")


def test_two_processes_share_a_local_copy_and_delete_a_stale_one(finished_run, shards, model, tmp_path):
    stale = tmp_path / "node" / "cloob-shards-0123"
    stale.mkdir(parents=True)
    (stale / "000000.tar").write_bytes(b"half")
    options = [f"--node-local-dir={tmp_path / 'node'}"]
    done = run_train(shards, model, tmp_path / "run", processes=2, options=options)
    assert done.returncode == 0, done.stderr
    assert list((tmp_path / "node").iterdir()) == []
    assert read_losses(tmp_path / "run") == pytest.approx(read_losses(finished_run), rel=1e-2)


def test_a_local_copy_that_differs_from_the_manifest_is_rejected(shards, model, tmp_path):
    damaged = tmp_path / "shards"
    shutil.copytree(shards.parent, damaged)
    tar = damaged / "000001.tar"
    tar.write_bytes(tar.read_bytes()[:-1] + b"x")
    options = [f"--node-local-dir={tmp_path / 'node'}"]
    done = run_train(damaged / "shards.json", model, tmp_path / "run", options=options)
    assert done.returncode == 2
    assert "differs from the manifest" in done.stderr
    assert list((tmp_path / "node").iterdir()) == []


def test_an_unset_variable_in_node_local_dir_is_reported_in_one_line(shards, model, tmp_path):
    options = ["--node-local-dir=$CLOOB_NO_SUCH_DISK"]
    done = run_train(shards, model, tmp_path / "run", options=options, cwd=tmp_path)
    assert done.returncode == 2
    assert "$CLOOB_NO_SUCH_DISK is not set in this job on" in done.stderr.splitlines()[-1]
    assert [path.name for path in tmp_path.iterdir()] == ["run"]
