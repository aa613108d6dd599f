"""User-facing errors: I/O errors become one line with path and remedy, bugs keep their traceback."""

import errno
import os
import pickle
import resource
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image, UnidentifiedImageError

from cloob.cli import main
from cloob.common.errors import io_errno, io_errors_at, user_message
from tests.helpers.io_errors import resource_limit


def write_torch(path: Path) -> None:
    with path.open("wb") as file:
        torch.save({"weight": torch.zeros(100_000)}, file)


@pytest.mark.parametrize("name", ["ENOSPC", "EDQUOT", "EROFS", "ESTALE", "EMFILE", "ETIMEDOUT", "EUCLEAN"])
def test_every_system_error_has_a_remedy(name: str) -> None:
    number = getattr(errno, name)
    message = user_message(OSError(number, os.strerror(number), "/data/x"))
    assert message is not None and message.startswith(f"/data/x: {os.strerror(number)}; ")


def test_full_disk_exits_with_status_2_and_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "links.tsv").write_text("a cat\thttp://x.example/1.jpg\n" * 20_000)
    command = (
        f"download urls --reader conceptual_captions --list {tmp_path}/links.tsv"
        f" --urls {tmp_path}/l.parquet --outcomes {tmp_path}/f.csv"
    )
    with resource_limit(resource.RLIMIT_FSIZE, 10), pytest.raises(SystemExit) as exited:
        main(command.split())
    assert exited.value.code == 2
    last = capsys.readouterr().err.splitlines()[-1]
    assert last.startswith(
        f"cloob download urls: error: {tmp_path}/l.parquet: File too large; raise the file"
    )


def run_with_stdout(stdout: int, folder: Path) -> subprocess.CompletedProcess[str]:
    """Run a command that prints something, with the given standard output."""
    (folder / "links.tsv").write_text("a cat\thttp://x.example/1.jpg\n")
    command = (
        f"download urls --reader conceptual_captions --list {folder}/links.tsv"
        f" --urls {folder}/l.parquet --outcomes {folder}/f.csv"
    )
    return subprocess.run(
        [sys.executable, "-m", "cloob", *command.split()],
        stdout=stdout,
        stderr=subprocess.PIPE,
        text=True,
        check=False,
    )


def test_full_disk_of_standard_output_is_one_line(tmp_path: Path) -> None:
    with Path("/dev/full").open("w") as full:
        process = run_with_stdout(full.fileno(), tmp_path)
    assert process.returncode == 2
    assert process.stderr.splitlines()[-1].startswith(
        "cloob download urls: error: No space left on device; free space"
    )


def test_broken_pipe_of_standard_output_is_one_line(tmp_path: Path) -> None:
    read, write = os.pipe()
    os.close(read)
    process = run_with_stdout(write, tmp_path)
    os.close(write)
    assert process.returncode == 2
    last = process.stderr.splitlines()[-1]
    assert last.startswith(
        "cloob download urls: error: Broken pipe; the program that read the output has exited"
    )


def truncated_image(folder: Path) -> None:
    Image.effect_noise((50, 50), 90).save(folder / "x.jpg")
    (folder / "x.jpg").write_bytes((folder / "x.jpg").read_bytes()[:500])
    with Image.open(folder / "x.jpg") as image:
        image.load()


def truncated_parquet(folder: Path) -> None:
    pq.write_table(pa.table({"a": range(1000)}), folder / "x.parquet")
    (folder / "x.parquet").write_bytes((folder / "x.parquet").read_bytes()[:-100])
    pq.read_table(folder / "x.parquet")


def truncated_weights(folder: Path) -> None:
    write_torch(folder / "x.pt")
    (folder / "x.pt").write_bytes((folder / "x.pt").read_bytes()[:1000])
    torch.load(folder / "x.pt", weights_only=True)


def invalid_gzip(folder: Path) -> None:
    import gzip

    (folder / "x.gz").write_bytes(b"plain")
    with gzip.open(folder / "x.gz") as file:
        file.read()


@pytest.mark.parametrize("read", [truncated_image, truncated_parquet, truncated_weights, invalid_gzip])
def test_damaged_content_is_not_an_io_error(tmp_path: Path, read: Callable[[Path], None]) -> None:
    with pytest.raises((OSError, RuntimeError, pa.ArrowException, UnidentifiedImageError)) as raised:
        read(tmp_path)
    assert io_errno(raised.value) is None
    assert user_message(raised.value) is None  # callers handle it; uncaught, it is a bug with a traceback


def test_out_of_memory_is_an_io_error(tmp_path: Path) -> None:
    with pytest.raises(OSError) as raised, io_errors_at(tmp_path / "x"):
        raise MemoryError
    assert user_message(raised.value) == (
        f"{tmp_path}/x: Cannot allocate memory; give the job more memory (mem_mb in slurm/config.yaml), then "
        "run again"
    )


def test_out_of_gpu_memory_is_one_line() -> None:
    error = torch.OutOfMemoryError(
        "CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has a total capacity of 79.11 GiB of which "
        "1.00 GiB is free. See https://pytorch.org/docs/stable/notes/cuda.html\n"
    )
    message = user_message(error)
    assert message is not None
    assert message.startswith("CUDA out of memory. Tried to allocate 2.00 GiB; use a GPU that")


def test_io_error_keeps_its_path_when_pickled(tmp_path: Path) -> None:
    with pytest.raises(OSError) as raised, io_errors_at(tmp_path / "x"):
        raise OSError(errno.ENOSPC, "No space left on device")
    assert user_message(pickle.loads(pickle.dumps(raised.value))) == user_message(raised.value)  # noqa: S301


def test_failed_copy_names_the_file_that_failed() -> None:
    write_error, read_error = OSError(errno.ENOSPC, "full", "/from/a"), OSError(errno.EIO, "lost", "/from/a")
    write_error.filename2 = read_error.filename2 = "/to/a"
    assert (user_message(write_error) or "").startswith("/to/a: No space left on device")
    assert (user_message(read_error) or "").startswith("/from/a: Input/output error")


def test_argument_that_is_not_utf8_is_one_line(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "cloob", "download", "urls", "--reader", "conceptual_captions"]
    command += ["--list", bytes(tmp_path) + b"/caf\xe9"]
    command += ["--urls", f"{tmp_path}/l.parquet", "--outcomes", f"{tmp_path}/f.csv"]
    process = subprocess.run(command, capture_output=True, text=True, check=False)
    assert process.returncode == 2
    assert process.stderr.splitlines()[-1].endswith("caf\\udce9': not UTF-8; rename it or use another path")
