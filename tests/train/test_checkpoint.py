from dataclasses import asdict

import pytest
import torch
from recipes import recipe

from cloob.errors import InputError
from cloob.train.checkpoint import checkpoint_path, newest_checkpoint, prune_checkpoints, save_checkpoint
from cloob.train.recipe import Run

RUN = Run("cc", "infonce", "RN50", "cc", 1)


def save(folder, epoch, step=0):
    content = {"run": asdict(RUN), "recipe": asdict(recipe()), "epoch": epoch, "step": step}
    save_checkpoint(checkpoint_path(folder, epoch, step), content)


def test_the_newest_is_found(tmp_path):
    for epoch in (1, 9, 10):
        save(tmp_path, epoch)
    assert newest_checkpoint(tmp_path, RUN, recipe())["epoch"] == 10
    assert newest_checkpoint(tmp_path / "empty", RUN, recipe()) is None


def test_a_checkpoint_within_an_epoch_is_newer_than_the_one_before_it_and_older_than_its_end(tmp_path):
    for epoch, step in ((9, 0), (9, 20), (9, 3), (10, 0)):
        save(tmp_path, epoch, step)
    assert newest_checkpoint(tmp_path, RUN, recipe())["epoch"] == 10
    checkpoint_path(tmp_path, 10).unlink()
    assert newest_checkpoint(tmp_path, RUN, recipe())["step"] == 20


def test_a_torn_checkpoint_is_passed_over_with_a_warning(tmp_path, capsys):
    for epoch in (1, 2, 3):
        save(tmp_path, epoch)
    whole = checkpoint_path(tmp_path, 3).read_bytes()
    checkpoint_path(tmp_path, 3).write_bytes(whole[: len(whole) // 2])
    checkpoint_path(tmp_path, 2).write_bytes(b"")
    assert newest_checkpoint(tmp_path, RUN, recipe())["epoch"] == 1
    assert capsys.readouterr().out.count("is passed over") == 2


def test_another_recipe_is_refused_by_the_keys_that_differ(tmp_path):
    save(tmp_path, 1)
    with pytest.raises(InputError, match=r"another recipe \(batch 8 there, 16 now\); move .* away"):
        newest_checkpoint(tmp_path, RUN, recipe(batch=16))


def test_a_pickle_that_would_run_code_is_not_loaded(tmp_path, capsys):
    class Bomb:
        def __reduce__(self):
            return print, ("boom",)

    torch.save(Bomb(), checkpoint_path(tmp_path, 1))
    assert newest_checkpoint(tmp_path, RUN, recipe()) is None
    assert "boom" not in capsys.readouterr().out.splitlines()


def test_only_the_newest_two_and_the_reported_epochs_stay(tmp_path):
    for epoch in range(1, 8):
        save(tmp_path, epoch)
        save(tmp_path, epoch, step=5)
        prune_checkpoints(tmp_path, {2})
    names = [path.name for path in sorted(tmp_path.iterdir())]
    assert names == ["epoch_0002.pt", "epoch_0007.pt", "epoch_0007_step_00000005.pt"]
