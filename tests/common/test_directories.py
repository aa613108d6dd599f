"""Directory listings and deletion."""

import os
from pathlib import Path

import pytest

from cloob.common.directories import remove_tree, sorted_glob


def test_remove_tree_deletes_deep_unreadable_and_oddly_named_trees(tmp_path: Path) -> None:
    tree, outside = tmp_path / "out", tmp_path / "outside"
    for folder in (tree, outside):
        folder.mkdir()
        (folder / "file").touch()
    os.mkfifo(tree / "pipe")
    (tree / os.fsdecode(b"\xff\n")).touch()
    (tree / "link").symlink_to(outside)
    (tree / "dangling").symlink_to("nowhere")
    locked = tree / "locked" / "deeper" / "deepest"
    locked.mkdir(parents=True)
    (locked / "file").touch()
    for folder in (locked, locked.parent, locked.parent.parent):
        folder.chmod(0)
    before = os.open(".", os.O_RDONLY)
    os.chdir(tree)
    try:
        for _ in range(1_000):
            Path("deep").mkdir()
            os.chdir("deep")
    finally:
        os.fchdir(before)
        os.close(before)
    remove_tree(tree)
    assert not tree.exists()
    assert (outside / "file").exists()
    (tmp_path / "link").symlink_to(outside)
    remove_tree(tmp_path / "link")
    remove_tree(tmp_path / "nothing")
    assert [path.name for path in tmp_path.iterdir()] == ["outside"]


def test_sorted_glob_sorts_by_name_and_accepts_a_missing_directory(tmp_path: Path) -> None:
    for name in ("b.tar", "a.tar", "c.txt", ".tar"):
        (tmp_path / name).touch()
    assert [path.name for path in sorted_glob(tmp_path, "*.tar")] == [".tar", "a.tar", "b.tar"]
    assert sorted_glob(tmp_path / "missing", "*") == []


def test_sorted_glob_raises_for_an_unreadable_directory(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(NotADirectoryError):
        sorted_glob(tmp_path / "file", "*")
