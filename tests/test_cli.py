"""The command line: help without imports of a stage, and one-line errors for wrong paths."""

import subprocess
import sys
from pathlib import Path

import pytest

from cloob.cli import MODEL_COMMANDS, STAGES, main

COMMANDS = [
    "download urls --reader yfcc100m --metadata {folder} --subset {file} --caption title"
    " --image-base-url http://x.example --urls {new}/l.parquet --outcomes {new}/f.csv",
    "download summary --list-outcomes train={folder} --ledgers train={file} --summary {new}/s.csv",
    "download urls --reader conceptual_captions --list {list} --urls {file}/l.parquet --outcomes {new}/f.csv",
    "shards verify --shards {folder} --outcomes {file} --processes 1",
]


@pytest.mark.parametrize("command", COMMANDS)
def test_a_folder_in_place_of_a_file_and_vice_versa_is_a_one_line_error(
    command: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "file").touch()
    (tmp_path / "list").write_text("a cat\thttp://x.example/1.jpg\n")
    paths = {name: tmp_path / name for name in ("folder", "file", "list", "new")}
    with pytest.raises(SystemExit) as exit_:
        main(command.format(**paths).split())
    assert exit_.value.code == 2
    message = capsys.readouterr().err.strip().splitlines()[-1]
    assert ": error: " in message and "use another path" in message


def test_help_lists_all_stages_without_importing_one() -> None:
    program = "import sys; from cloob.cli import main\ntry: main(['--help'])\nfinally: print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    help_text, _, modules = done.stdout.rstrip().rpartition("\n")
    assert all(f"    {name} " in help_text for name in STAGES | MODEL_COMMANDS)
    stages = tuple(f"cloob.{name.replace('-', '_')}" for name in [*STAGES, "inference"])
    assert [name for name in modules.split() if name.startswith(stages) or name in ("torch", "pandas")] == []


def test_more_arguments_than_fit_on_a_command_line_are_passed_as_a_file(tmp_path: Path) -> None:
    flags = " ".join(f"--manifests=corpus{number}/train={'x' * 100}" for number in range(30_000))
    script = tmp_path / "script.sh"
    command = f"{sys.executable} -m cloob report table corpus --csv={tmp_path}/corpus.csv"
    script.write_text(f"{command} {flags}\n{command} @<(printf '%s\\0' {flags} )\n")
    done = subprocess.run(["bash", script], capture_output=True, text=True, check=False)
    too_long, error = done.stderr.splitlines()
    assert "Argument list too long" in too_long
    assert error == (
        "cloob report table: error: --outcomes: no outcomes of corpus0/train, but its manifest is given"
    )


def test_a_missing_file_of_arguments_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as exit_:
        main(["report", "table", "corpus", "@missing"])
    assert exit_.value.code == 2
    assert "cloob: error: missing: No such file" in capsys.readouterr().err


@pytest.mark.parametrize("content", [b"--results=a\0--results=b", b"--results=a\n--results=b\n", b"\n"])
def test_a_file_of_arguments_whose_last_one_does_not_end_is_an_error(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], content: bytes
) -> None:
    path = tmp_path / "arguments"
    path.write_bytes(content)
    with pytest.raises(SystemExit) as exit_:
        main(["report", "table", "corpus", f"@{path}"])
    assert exit_.value.code == 2
    assert capsys.readouterr().err.splitlines()[-1] == (
        f"cloob: error: {path}: does not end in a NUL byte: truncated, or not a file of arguments; write it "
        r"with printf '%s\0' ARGUMENT ..."
    )


@pytest.mark.parametrize("stage", STAGES | MODEL_COMMANDS)
def test_every_stage_and_command_has_help(stage: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as exit_:
        main([stage, "--help"])
    assert exit_.value.code == 0
    assert capsys.readouterr().out.startswith(f"usage: cloob {stage}")


@pytest.mark.parametrize("redirection", [">&-", "2>&-", "<&- >&- 2>&-", "2>/dev/full"])
def test_closed_standard_streams_change_neither_status_nor_message(redirection: str) -> None:
    command = f"{sys.executable} -m cloob shards verify --shards missing --outcomes x --processes 1"
    done = subprocess.run(
        ["bash", "-c", f"{command} {redirection}"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 2
    assert done.stderr == (
        "cloob shards verify: error: missing: no such file\n" if redirection == ">&-" else ""
    )


def test_a_file_never_gets_the_descriptor_of_a_closed_standard_stream() -> None:
    program = (
        "import sys, tempfile; from cloob.cli import main\ntry: main(['--help'])\n"
        "except SystemExit: print(tempfile.TemporaryFile().fileno())"
    )
    done = subprocess.run(
        ["bash", "-c", f'exec {sys.executable} -c "$1" <&- 2>&-', "bash", program],
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    assert int(done.stdout.splitlines()[-1]) > 2
