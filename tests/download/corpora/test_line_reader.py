"""Streaming of long text files, with lbzip2 and without."""

import bz2
import os
import shutil
from pathlib import Path

import pytest

from cloob.common.errors import InputError
from cloob.download.corpora import line_reader
from cloob.download.corpora.line_reader import read_lines

ROWS = [b"%d\t%s" % (i, os.urandom(30).hex().encode()) for i in range(30_000)]
TEXT = b"\n".join(ROWS) + b"\n"


@pytest.fixture(params=["lbzip2", "indexed_bzip2"], autouse=True)
def decompressor(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every test runs with lbzip2, where it is installed, and without it."""
    if request.param == "indexed_bzip2":
        monkeypatch.setattr(shutil, "which", lambda name: None)
    elif not shutil.which("lbzip2"):
        pytest.skip("lbzip2 is not installed")


def test_plain_compressed_and_split_files_have_the_same_lines(tmp_path: Path) -> None:
    (tmp_path / "whole.tsv").write_bytes(TEXT)
    (tmp_path / "whole.bz2").write_bytes(bz2.compress(TEXT))
    (tmp_path / "two_streams.bz2").write_bytes(
        bz2.compress(TEXT[:1_000_000]) + bz2.compress(TEXT[1_000_000:])
    )
    half = len(b"\n".join(ROWS[:15_000])) + 1
    (tmp_path / "part0.bz2").write_bytes(bz2.compress(TEXT[:half]))
    (tmp_path / "part1").write_bytes(TEXT[half:])
    for names in (["whole.tsv"], ["whole.bz2"], ["two_streams.bz2"], ["part0.bz2", "part1"]):
        assert list(read_lines(*(tmp_path / name for name in names))) == ROWS


def test_the_progress_bar_reaches_100_percent(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "list.bz2").write_bytes(bz2.compress(TEXT))
    assert len(list(read_lines(tmp_path / "list.bz2", description="a list"))) == 30_000
    assert "a list: 100%" in capfd.readouterr().err


@pytest.mark.parametrize("damage", ["truncated", "bit flip", "another format"])
def test_a_damaged_file_is_an_error(tmp_path: Path, damage: str) -> None:
    compressed = bytearray(bz2.compress(TEXT))
    if damage == "truncated":
        del compressed[-20:]
    elif damage == "bit flip":
        compressed[len(compressed) // 2] ^= 0xFF
    else:
        compressed[:] = b"<html>not found</html>"
    (tmp_path / "list.bz2").write_bytes(compressed)
    with pytest.raises(InputError, match=r"list\.bz2: (damaged \(.+\)|a web page, .+); download it again"):
        list(read_lines(tmp_path / "list.bz2"))


def test_a_reader_that_stops_early_leaves_no_child_process(tmp_path: Path) -> None:
    (tmp_path / "list.bz2").write_bytes(bz2.compress(TEXT))
    reader = read_lines(tmp_path / "list.bz2")
    assert next(reader) == ROWS[0]
    reader.close()
    children = Path(f"/proc/{os.getpid()}/task/{os.getpid()}/children").read_text().split()
    assert not [pid for pid in children if b"lbzip2" in Path(f"/proc/{pid}/cmdline").read_bytes()]


def test_a_file_without_line_endings_is_rejected_before_it_fills_the_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(line_reader, "_MAX_LINE", 10_000)
    monkeypatch.setattr(line_reader, "_BLOCK", 1000)
    (tmp_path / "list").write_bytes(b"x" * 20_000)
    with pytest.raises(InputError, match=r"list: a line of more than 10,000 bytes; is it text\?"):
        list(read_lines(tmp_path / "list"))
