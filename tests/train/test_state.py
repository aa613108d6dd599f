"""Checkpoints: atomic, pruned, rejected if they belong to another run, skipped if damaged."""

import errno
import os
import re
import resource
import tempfile
import zipfile
from pathlib import Path

import pytest
import torch

from cloob.common.errors import InputError, user_message
from cloob.train.state import Checkpointer, read_checkpoint, write_checkpoint
from tests.helpers.io_errors import (
    ERRNO_NAMES,
    fail_reads_below,
    no_free_descriptors,
    resource_limit,
    run_as_nobody,
)

IDENTITY = {"recipe": {"batch_size": 8, "epochs": 3}, "model_config": {"width": 64}, "corpus_sha256": "a1"}


TRAINING = {"optimizer": {}, "scaler": {}}


def write(folder, epoch, step=0):
    """A small checkpoint of the run `IDENTITY`, without pruning others."""
    content = IDENTITY | TRAINING | {"samples_seen": epoch, "state_dict": {"weight": torch.arange(1000.0)}}
    path = Checkpointer(folder, IDENTITY).path(epoch, step)
    write_checkpoint(path, content)
    return path


def latest_name(folder):
    path = Checkpointer(folder, IDENTITY).latest_path()
    return path and path.name


def test_the_latest_checkpoint_is_that_of_the_highest_epoch(tmp_path):
    for epoch in (1, 9, 10):
        write(tmp_path, epoch)
    assert latest_name(tmp_path) == "epoch_0010.pt"
    assert latest_name(tmp_path / "empty") is None


def test_a_checkpoint_within_an_epoch_sorts_between_those_at_the_ends(tmp_path):
    for epoch, step in ((9, 0), (9, 20), (9, 3), (10, 0)):
        path = write(tmp_path, epoch, step)
    assert latest_name(tmp_path) == "epoch_0010.pt"
    path.unlink()
    assert latest_name(tmp_path) == "epoch_0009_step_00000020.pt"


def test_epochs_of_five_digits_are_later_than_those_of_four(tmp_path):
    for epoch in (9998, 9999, 10000):
        write(tmp_path, epoch)
    Checkpointer(tmp_path, IDENTITY).prune()
    assert latest_name(tmp_path) == "epoch_10000.pt"


def test_files_of_other_names_are_neither_read_nor_deleted(tmp_path):
    names = ["epoch_0001_copy.pt", "epoch_best.pt"]
    for epoch in (1, 2, 3):
        path = write(tmp_path, epoch)
        for name in names:
            path.with_name(name).write_bytes(path.read_bytes())
    assert latest_name(tmp_path) == "epoch_0003.pt"
    Checkpointer(tmp_path, IDENTITY).prune()
    assert {path.name for path in tmp_path.iterdir()} == {*names, "epoch_0002.pt", "epoch_0003.pt"}


def test_damaged_checkpoints_are_skipped_with_a_warning_and_renamed(tmp_path, capsys):
    paths = {epoch: write(tmp_path, epoch) for epoch in (1, 2, 3, 4)}
    content = paths[4].read_bytes()
    paths[4].write_bytes(content[: len(content) // 2])
    paths[3].write_bytes(b"")
    inside = content.index(torch.tensor([500.0]).numpy().tobytes())
    paths[2].write_bytes(content[:inside] + b"\xff" + content[inside + 1 :])
    assert latest_name(tmp_path) == "epoch_0001.pt"
    printed = capsys.readouterr().out
    assert printed.count("is skipped because it does not load") == 3
    assert re.search("the checksum of .* does not match", printed)
    Checkpointer(tmp_path, IDENTITY).prune()  # damaged files do not count as the newest two
    assert sorted(path.name for path in tmp_path.glob("*.pt")) == ["epoch_0001.pt"]
    assert len(list(tmp_path.glob("*.damaged"))) == 3


def test_equal_checkpoints_are_equal_files(tmp_path):
    content = {"state_dict": {"weight": torch.arange(1000.0)}}
    for name in ("epoch_0001.pt", "final.pt"):
        write_checkpoint(tmp_path / name, content)
    assert (tmp_path / "epoch_0001.pt").read_bytes() == (tmp_path / "final.pt").read_bytes()


def test_temporary_files_of_a_killed_process_are_deleted(tmp_path):
    write(tmp_path, 1)
    (tmp_path / ".epoch_0002.4711.pt").write_bytes(b"half")
    assert latest_name(tmp_path) == "epoch_0001.pt"
    assert [path.name for path in tmp_path.iterdir()] == ["epoch_0001.pt"]


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"recipe": {"batch_size": 16, "epochs": 3}}, "recipe.batch_size was 8, is 16"),
        ({"recipe": {"batch_size": 8, "epochs": 3, "new": 1}}, "recipe.new was None, is 1"),
        ({"model_config": {"width": 32}}, "model_config.width was 64, is 32"),
        ({"corpus_sha256": "b2"}, "corpus_sha256 was a1, is b2"),
    ],
)
def test_a_checkpoint_of_another_run_is_rejected_with_the_keys_that_differ(tmp_path, changed, message):
    path = write(tmp_path, 1)
    assert read_checkpoint(path, IDENTITY)["samples_seen"] == 1
    with pytest.raises(InputError, match=rf"belongs to another run \({message}\); move .* away"):
        read_checkpoint(path, IDENTITY | changed)


def test_final_weights_are_rejected_because_training_cannot_resume_from_them(tmp_path):
    final = IDENTITY | {"epoch": 3, "samples_seen": 3, "state_dict": {}}
    write_checkpoint(tmp_path / "epoch_0003.pt", final)
    with pytest.raises(InputError, match=r"epoch_0003\.pt: has no optimizer, scaler, like a final.pt"):
        read_checkpoint(tmp_path / "epoch_0003.pt", IDENTITY)


def test_a_checkpoint_from_before_a_hyperparameter_existed_has_its_default(tmp_path):
    path = write(tmp_path, 1)
    recipe = IDENTITY["recipe"]
    read_checkpoint(path, IDENTITY | {"recipe": recipe | {"gradient_all_reduce": "float32"}})
    with pytest.raises(InputError, match=r"recipe\.gradient_all_reduce was float32, is bfloat16"):
        read_checkpoint(path, IDENTITY | {"recipe": recipe | {"gradient_all_reduce": "bfloat16"}})


def test_checkpoints_of_a_recipe_that_a_search_chose_earlier_are_set_aside(tmp_path, capsys, context):
    write(tmp_path, 1)
    (tmp_path / "starts.json").write_text("[0]")
    now = IDENTITY | {"recipe": {"batch_size": 16, "epochs": 3}}
    assert Checkpointer(tmp_path, now, replaceable=["recipe.batch_size"]).latest(context) is None
    assert {path.name for path in tmp_path.iterdir()} == {"replaced"}
    assert {path.name for path in (tmp_path / "replaced").iterdir()} == {"epoch_0001.pt", "starts.json"}
    assert "another recipe since (recipe.batch_size was 8, is 16)" in capsys.readouterr().out


def test_other_differences_from_a_chosen_recipe_are_still_rejected(tmp_path, context):
    write(tmp_path, 1)
    now = {"recipe": {"batch_size": 16, "epochs": 3}, "model_config": {"width": 64}, "corpus_sha256": "b2"}
    with pytest.raises(InputError, match="belongs to another run"):
        Checkpointer(tmp_path, now, replaceable=["recipe.batch_size"]).latest(context)
    same = Checkpointer(tmp_path, IDENTITY, replaceable=["recipe.batch_size"]).latest(context)
    assert same["samples_seen"] == 1


def test_a_pickle_that_would_execute_code_is_not_loaded(tmp_path, capsys):
    class Bomb:
        def __reduce__(self):
            return print, ("boom",)

    torch.save(Bomb(), tmp_path / "epoch_0001.pt")
    assert latest_name(tmp_path) is None
    assert "boom" not in capsys.readouterr().out.splitlines()


def test_saving_keeps_only_the_newest_two_and_the_chosen_epochs(tmp_path):
    checkpointer = Checkpointer(tmp_path, IDENTITY, keep_epochs={2})
    for epoch in range(1, 8):
        for step in (0, 5):
            checkpointer.save(epoch, step, {"samples_seen": epoch, "state_dict": {}})
    names = [path.name for path in sorted(tmp_path.iterdir())]
    assert names == ["epoch_0002.pt", "epoch_0007.pt", "epoch_0007_step_00000005.pt"]


def test_the_latest_checkpoint_has_what_was_saved_and_the_identity(tmp_path, context):
    checkpointer = Checkpointer(tmp_path, IDENTITY)
    assert checkpointer.latest(context) is None
    saved = TRAINING | {"samples_seen": 24, "state_dict": {}}
    checkpointer.save(3, 5, saved)
    assert checkpointer.latest(context) == IDENTITY | {"epoch": 3} | saved


def test_a_checkpoint_is_due_after_the_interval(tmp_path, monkeypatch):
    now = 100.0
    monkeypatch.setattr("cloob.train.state.time.monotonic", lambda: now)
    checkpointer = Checkpointer(tmp_path, IDENTITY, interval_minutes=2)
    now = 219.0
    assert not checkpointer.is_due()
    now = 221.0
    assert checkpointer.is_due()
    checkpointer.save(1, 0, {"samples_seen": 8})
    assert not checkpointer.is_due()


def test_restarts_without_progress_are_counted_and_limited(tmp_path):
    checkpointer = Checkpointer(tmp_path, IDENTITY)
    assert [checkpointer.register_restart(samples) for samples in (0, 0, 8, 8, 8)] == [0, 1, 2, 3, 4]
    with pytest.raises(InputError, match=r"started 3 times after 8 pairs .* then delete starts.json"):
        checkpointer.register_restart(8)
    assert checkpointer.register_restart(16) == 5
    assert [checkpointer.register_restart(16, is_complete=True) for _ in range(4)] == [6] * 4


@pytest.mark.parametrize("name", ERRNO_NAMES)
def test_an_unreadable_checkpoint_is_not_treated_as_damaged(tmp_path, monkeypatch, name):
    for epoch in (1, 2):
        write(tmp_path, epoch)
    before = sorted(path.name for path in tmp_path.iterdir())
    number = getattr(errno, name)
    with monkeypatch.context() as patched:
        fail_reads_below(patched, tmp_path, number)
        with pytest.raises(OSError) as error:
            latest_name(tmp_path)
    assert user_message(error.value).startswith(f"{tmp_path}/epoch_0002.pt: {os.strerror(number)}; ")
    assert sorted(path.name for path in tmp_path.iterdir()) == before
    assert latest_name(tmp_path) == "epoch_0002.pt"


def test_a_checkpoint_is_not_damaged_if_too_many_files_are_open(tmp_path):
    write(tmp_path, 1)
    with no_free_descriptors(), pytest.raises(OSError, match="Too many open files"):
        latest_name(tmp_path)
    assert latest_name(tmp_path) == "epoch_0001.pt"


def test_a_checkpoint_is_not_damaged_if_memory_is_exhausted(tmp_path, monkeypatch):
    write(tmp_path, 1)
    with monkeypatch.context() as patched:
        patched.setattr(zipfile.ZipFile, "open", lambda *_: (_ for _ in ()).throw(MemoryError))
        with pytest.raises(OSError, match="Cannot allocate memory"):
            latest_name(tmp_path)
    assert latest_name(tmp_path) == "epoch_0001.pt"


def test_an_unreadable_folder_is_not_treated_as_empty():
    def check():
        with tempfile.TemporaryDirectory() as folder:
            write(Path(folder), 1)
            Path(folder).chmod(0o300)
            with pytest.raises(PermissionError):
                latest_name(Path(folder))
            Path(folder).chmod(0o700)

    assert run_as_nobody(check) == 0


@pytest.mark.parametrize("position", range(0, 1400, 40))
def test_a_changed_byte_gives_at_most_one_warning(tmp_path, position, capsys):
    path = write(tmp_path, 1)
    content = bytearray(path.read_bytes())
    content[-1 - position] ^= 0x41
    path.write_bytes(content)
    name = latest_name(tmp_path)
    assert (name is None) == ("is skipped" in capsys.readouterr().out)


def test_a_full_disk_names_the_checkpoint_and_leaves_no_partial_file(tmp_path):
    with resource_limit(resource.RLIMIT_FSIZE, 1000), pytest.raises(OSError) as error:
        write(tmp_path, 1)
    message = user_message(error.value)
    assert message.startswith(f"{tmp_path}/epoch_0001.pt: File too large; raise the file size")
    assert list(tmp_path.iterdir()) == []
