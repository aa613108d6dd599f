import bz2
import os
import shutil
from pathlib import Path

import pytest

from cloob.common.errors import InputError
from cloob.download.corpora.line_reader import read_lines

ROWS = [b"%d\t%s" % (i, os.urandom(30).hex().encode()) for i in range(30_000)]
TEXT = b"\n".join(ROWS) + b"\n"


@pytest.fixture(params=["lbzip2", "indexed_bzip2"], autouse=True)
def unpacker(request, monkeypatch):
    """With lbzip2 where it is installed, and without it."""
    if request.param == "indexed_bzip2":
        monkeypatch.setattr(shutil, "which", lambda name: None)
    elif not shutil.which("lbzip2"):
        pytest.skip("no lbzip2 here")


def test_plain_packed_and_split_files_have_the_same_lines(tmp_path: Path):
    (tmp_path / "whole.tsv").write_bytes(TEXT)
    (tmp_path / "whole.bz2").write_bytes(bz2.compress(TEXT))
    (tmp_path / "two.bz2").write_bytes(bz2.compress(TEXT[:1_000_000]) + bz2.compress(TEXT[1_000_000:]))
    half = len(b"\n".join(ROWS[:15_000])) + 1
    (tmp_path / "part0.bz2").write_bytes(bz2.compress(TEXT[:half]))
    (tmp_path / "part1").write_bytes(TEXT[half:])
    for names in (["whole.tsv"], ["whole.bz2"], ["two.bz2"], ["part0.bz2", "part1"]):
        assert list(lines(*(tmp_path / name for name in names))) == ROWS


def test_the_bar_reaches_the_end(tmp_path: Path, capfd):
    (tmp_path / "list.bz2").write_bytes(bz2.compress(TEXT))
    assert len(list(lines(tmp_path / "list.bz2", what="a list"))) == 30_000
    assert "a list: 100%" in capfd.readouterr().err


@pytest.mark.parametrize("damage", ["cut", "flipped", "another format"])
def test_a_damaged_file_is_an_error(tmp_path: Path, damage: str):
    packed = bytearray(bz2.compress(TEXT))
    if damage == "cut":
        del packed[-20:]
    elif damage == "flipped":
        packed[len(packed) // 2] ^= 0xFF
    else:
        packed[:] = b"<html>not found</html>"
    (tmp_path / "list.bz2").write_bytes(packed)
    with pytest.raises(InputError, match=r"list\.bz2: damaged \(.+\); get it again"):
        list(lines(tmp_path / "list.bz2"))


def test_a_reader_that_stops_early_leaves_no_process_behind(tmp_path: Path):
    (tmp_path / "list.bz2").write_bytes(bz2.compress(TEXT))
    some = lines(tmp_path / "list.bz2")
    assert next(some) == ROWS[0]
    some.close()
    children = Path(f"/proc/{os.getpid()}/task/{os.getpid()}/children").read_text().split()
    assert not [pid for pid in children if b"lbzip2" in Path(f"/proc/{pid}/cmdline").read_bytes()]
