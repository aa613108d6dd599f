import errno
import os
import resource
import tempfile
import zipfile
from pathlib import Path

import pytest
import torch

from cloob.common.errors import InputError, user_message
from cloob.train.state import (
    checkpoint_path,
    count_restart,
    newest_checkpoint,
    prune_checkpoints,
    read_checkpoint,
    save_checkpoint,
)
from tests.helpers.io_errors import (
    ERRNO_NAMES,
    fail_reads_below,
    no_free_descriptors,
    resource_limit,
    run_as_nobody,
)

IDENTITY = {"recipe": {"batch_size": 8, "epochs": 3}, "model_config": {"width": 64}, "corpus_sha256": "a1"}


def save(folder, epoch, step=0):
    content = IDENTITY | {"samples_seen": epoch, "state_dict": {"weight": torch.arange(1000.0)}}
    save_checkpoint(checkpoint_path(folder, epoch, step), content)


def newest(folder):
    path = newest_checkpoint(folder)
    return path and path.name


def test_the_newest_is_found(tmp_path):
    for epoch in (1, 9, 10):
        save(tmp_path, epoch)
    assert newest(tmp_path) == "epoch_0010.pt"
    assert newest(tmp_path / "empty") is None


def test_a_checkpoint_within_an_epoch_is_newer_than_the_one_before_it_and_older_than_its_end(tmp_path):
    for epoch, step in ((9, 0), (9, 20), (9, 3), (10, 0)):
        save(tmp_path, epoch, step)
    assert newest(tmp_path) == "epoch_0010.pt"
    checkpoint_path(tmp_path, 10).unlink()
    assert newest(tmp_path) == "epoch_0009_step_00000020.pt"


def test_a_damaged_checkpoint_is_passed_over_with_a_warning_and_moved_aside(tmp_path, capsys):
    for epoch in (1, 2, 3, 4):
        save(tmp_path, epoch)
    whole = checkpoint_path(tmp_path, 4).read_bytes()
    checkpoint_path(tmp_path, 4).write_bytes(whole[: len(whole) // 2])
    checkpoint_path(tmp_path, 3).write_bytes(b"")
    inside = whole.index(torch.tensor([500.0]).numpy().tobytes())
    checkpoint_path(tmp_path, 2).write_bytes(whole[:inside] + b"\xff" + whole[inside + 1 :])
    assert newest(tmp_path) == "epoch_0001.pt"
    printed = capsys.readouterr().out
    assert printed.count("is passed over") == 3
    assert "has not the checksum that it was written with" in printed
    prune_checkpoints(tmp_path, set())  # damaged ones do not crowd out good ones
    assert sorted(path.name for path in tmp_path.glob("*.pt")) == ["epoch_0001.pt"]
    assert len(list(tmp_path.glob("*.damaged"))) == 3


def test_equal_checkpoints_are_equal_files(tmp_path):
    content = {"state_dict": {"weight": torch.arange(1000.0)}}
    for name in ("epoch_0001.pt", "final.pt"):
        save_checkpoint(tmp_path / name, content)
    assert (tmp_path / "epoch_0001.pt").read_bytes() == (tmp_path / "final.pt").read_bytes()


def test_what_a_kill_left_half_written_is_deleted(tmp_path):
    save(tmp_path, 1)
    (tmp_path / ".epoch_0002.4711.pt").write_bytes(b"half")
    assert newest(tmp_path) == "epoch_0001.pt"
    assert [path.name for path in tmp_path.iterdir()] == ["epoch_0001.pt"]


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"recipe": {"batch_size": 16, "epochs": 3}}, "recipe.batch_size 8 there, 16 now"),
        ({"recipe": {"batch_size": 8, "epochs": 3, "new": 1}}, "recipe.new None there, 1 now"),
        ({"model_config": {"width": 32}}, "model_config.width 64 there, 32 now"),
        ({"corpus_sha256": "b2"}, "corpus_sha256 a1 there, b2 now"),
    ],
)
def test_a_checkpoint_of_another_run_is_refused_by_the_keys_that_differ(tmp_path, changed, said):
    save(tmp_path, 1)
    path = checkpoint_path(tmp_path, 1)
    assert read_checkpoint(path, IDENTITY)["samples_seen"] == 1
    with pytest.raises(InputError, match=rf"of another run \({said}\); move .* away"):
        read_checkpoint(path, IDENTITY | changed)


def test_a_pickle_that_would_run_code_is_not_loaded(tmp_path, capsys):
    class Bomb:
        def __reduce__(self):
            return print, ("boom",)

    torch.save(Bomb(), checkpoint_path(tmp_path, 1))
    assert newest(tmp_path) is None
    assert "boom" not in capsys.readouterr().out.splitlines()


def test_only_the_newest_two_and_the_reported_epochs_stay(tmp_path):
    for epoch in range(1, 8):
        save(tmp_path, epoch)
        save(tmp_path, epoch, step=5)
        prune_checkpoints(tmp_path, {2})
    names = [path.name for path in sorted(tmp_path.iterdir())]
    assert names == ["epoch_0002.pt", "epoch_0007.pt", "epoch_0007_step_00000005.pt"]


def test_starts_without_progress_are_counted_and_bounded(tmp_path):
    assert [count_restart(tmp_path, pairs) for pairs in (0, 0, 8, 8, 8)] == [0, 1, 2, 3, 4]
    with pytest.raises(InputError, match=r"started 3 times after 8 pairs .* then delete starts.json"):
        count_restart(tmp_path, 8)
    assert count_restart(tmp_path, 16) == 5


@pytest.mark.parametrize("name", ERRNO_NAMES)
def test_a_checkpoint_that_cannot_be_read_is_no_damaged_one(tmp_path, monkeypatch, name):
    for epoch in (1, 2):
        save(tmp_path, epoch)
    before = sorted(path.name for path in tmp_path.iterdir())
    number = getattr(errno, name)
    with monkeypatch.context() as patched:
        fail_reads_below(patched, tmp_path, number)
        with pytest.raises(OSError) as failed:
            newest_checkpoint(tmp_path)
    assert user_message(failed.value).startswith(f"{tmp_path}/epoch_0002.pt: {os.strerror(number)}; ")
    assert sorted(path.name for path in tmp_path.iterdir()) == before
    assert newest(tmp_path) == "epoch_0002.pt"


def test_too_many_open_files_damage_no_checkpoint(tmp_path):
    save(tmp_path, 1)
    with no_free_descriptors(), pytest.raises(OSError, match="Too many open files"):
        newest_checkpoint(tmp_path)
    assert newest(tmp_path) == "epoch_0001.pt"


def test_memory_that_is_used_up_damages_no_checkpoint(tmp_path, monkeypatch):
    save(tmp_path, 1)
    with monkeypatch.context() as patched:
        patched.setattr(zipfile.ZipFile, "open", lambda *_: (_ for _ in ()).throw(MemoryError))
        with pytest.raises(OSError, match="Cannot allocate memory"):
            newest_checkpoint(tmp_path)
    assert newest(tmp_path) == "epoch_0001.pt"


def test_a_folder_that_may_not_be_listed_is_not_an_empty_one():
    def work():
        with tempfile.TemporaryDirectory() as folder:
            save(Path(folder), 1)
            Path(folder).chmod(0o300)
            with pytest.raises(PermissionError):
                newest_checkpoint(Path(folder))
            Path(folder).chmod(0o700)

    assert run_as_nobody(work) == 0


@pytest.mark.parametrize("place", range(0, 1400, 40))
def test_wherever_a_byte_of_a_checkpoint_changes_it_is_one_warning(tmp_path, place, capsys):
    save(tmp_path, 1)
    content = bytearray(checkpoint_path(tmp_path, 1).read_bytes())
    content[-1 - place] ^= 0x41
    checkpoint_path(tmp_path, 1).write_bytes(content)
    found = newest(tmp_path)
    assert (found is None) == ("is passed over" in capsys.readouterr().out)


def test_a_disk_that_is_full_names_the_checkpoint_and_leaves_no_half_of_it(tmp_path):
    with resource_limit(resource.RLIMIT_FSIZE, 1000), pytest.raises(OSError) as failed:
        save(tmp_path, 1)
    assert user_message(failed.value).startswith(
        f"{tmp_path}/epoch_0001.pt: File too large; raise the file size"
    )
    assert list(tmp_path.iterdir()) == []
