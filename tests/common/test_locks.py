"""Lock files."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from cloob.common.locks import exclusive_dir_lock, file_lock


@pytest.mark.parametrize("lock", [exclusive_dir_lock, lambda folder: file_lock(folder / "features")])
def test_lock_file_is_not_followed_if_a_link_and_not_truncated(tmp_path: Path, lock: Callable) -> None:
    (tmp_path / "mine").write_text("precious")
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "lock").symlink_to(tmp_path / "mine")
    with pytest.raises(OSError, match="symbolic link"), lock(tmp_path / "folder"):
        pass
    (tmp_path / "folder" / "lock").unlink()
    os.link(tmp_path / "mine", tmp_path / "folder" / "lock")
    with lock(tmp_path / "folder"):
        pass
    assert (tmp_path / "mine").read_text() == "precious"
