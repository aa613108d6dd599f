"""A folder in place of a file, or a file in place of a folder, is one line, not a traceback."""

from pathlib import Path

import pytest

from cloob.cli import main

COMMANDS = [
    "download urls --reader yfcc100m --metadata {folder} --subset {file} --caption title --image-base-url http://x.example"
    " --urls {new}/l.parquet --outcomes {new}/f.csv",
    "download summary --list-outcomes train={folder} --ledgers train={file} --summary {new}/s.csv",
    "download urls --reader conceptual_captions --list {list} --urls {file}/l.parquet --outcomes {new}/f.csv",
    "shards verify --shards {folder} --outcomes {file} --processes 1",
]


@pytest.mark.parametrize("command", COMMANDS)
def test_a_path_of_the_wrong_kind_is_one_line(
    command: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "file").touch()
    (tmp_path / "list").write_text("a cat\thttp://x.example/1.jpg\n")
    places = {name: tmp_path / name for name in ("folder", "file", "list", "new")}
    with pytest.raises(SystemExit) as ended:
        main(command.format(**places).split())
    assert ended.value.code == 2
    said = capsys.readouterr().err.strip().splitlines()[-1]
    assert ": error: " in said and "name another" in said
