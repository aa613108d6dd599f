"""User-facing errors: I/O errors become one line with path and remedy, defects keep their traceback."""

import errno
import os
import pickle
import resource
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image, UnidentifiedImageError
from safetensors.torch import save_file

from cloob.cli import main
from cloob.common.atomic_files import atomic_write
from cloob.common.data_loading import BatchLoader, kill_workers_on_exit
from cloob.common.errors import InputError, io_errno, io_errors_at, user_message
from cloob.common.json_files import read_json, write_json
from cloob.common.locks import exclusive_dir_lock, file_lock
from tests.helpers.io_errors import resource_limit


def write_torch(path: Path) -> None:
    with path.open("wb") as file:
        torch.save({"weight": torch.zeros(100_000)}, file)


def write_figure(path: Path) -> None:
    from matplotlib.figure import Figure

    figure = Figure()
    figure.add_subplot().imshow(np.random.default_rng(0).random((300, 300)))
    figure.savefig(path)


WRITERS: dict[str, Callable[[Path], object]] = {
    "a.pt": write_torch,
    "a.safetensors": lambda path: save_file({"weight": torch.zeros(100_000)}, path),
    "a.parquet": lambda path: pq.write_table(pa.table({"a": np.random.default_rng(0).random(50_000)}), path),
    "a.json": lambda path: path.write_text("x" * 100_000),
    "a.csv": lambda path: __import__("pandas").DataFrame(np.ones((20_000, 3))).to_csv(path),
    "a.png": write_figure,
    "a.svg": write_figure,
    "a.pdf": write_figure,
    "a.jpg": lambda path: Image.effect_noise((500, 500), 90).save(path),
}


@pytest.mark.parametrize("name", WRITERS)
def test_failed_write_of_any_library_names_the_file(tmp_path: Path, name: str) -> None:
    path = tmp_path / "results" / name
    with (
        resource_limit(resource.RLIMIT_FSIZE, 10_000),
        pytest.raises(OSError) as raised,
        atomic_write(path) as temporary,
    ):
        WRITERS[name](temporary)
    assert user_message(raised.value) == (
        f"{path}: File too large; raise the file size limit (`ulimit -f`, also in the job), or use another "
        "file system"
    )
    assert list(path.parent.iterdir()) == []  # no temporary file is left


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
    assert user_message(raised.value) is None  # callers handle it; uncaught, it is a defect with a traceback


def test_out_of_memory_is_an_io_error(tmp_path: Path) -> None:
    with pytest.raises(OSError) as raised, io_errors_at(tmp_path / "x"):
        raise MemoryError
    assert user_message(raised.value) == (
        f"{tmp_path}/x: Cannot allocate memory; give the job more memory (mem_mb in slurm/config.yaml), then "
        "run again"
    )


class Failing:
    def __init__(self, error: Exception) -> None:
        self.error = error

    def __getitem__(self, index: int) -> int:
        raise self.error


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (InputError("a.tar: changed; pack it again"), "a.tar: changed; pack it again"),
        (
            OSError(24, "Too many open files", "/x/a b.tar"),
            "/x/a b.tar: Too many open files; raise",
        ),
        (PermissionError(13, "Permission denied", "/x/a.tar"), "/x/a.tar: Permission denied; check owner"),
    ],
    ids=["input", "descriptors", "mode"],
)
def test_error_in_a_loader_worker_keeps_its_message(error: Exception, message: str) -> None:
    with pytest.raises(type(error)) as raised, kill_workers_on_exit():
        list(BatchLoader(Failing(error), list, [[0]], workers=1))
    assert (user_message(raised.value) or "").startswith(message)


def test_io_error_keeps_its_path_when_pickled(tmp_path: Path) -> None:
    with pytest.raises(OSError) as raised, io_errors_at(tmp_path / "x"):
        raise OSError(errno.ENOSPC, "No space left on device")
    assert user_message(pickle.loads(pickle.dumps(raised.value))) == user_message(raised.value)  # noqa: S301


def test_failed_copy_names_the_file_that_failed() -> None:
    write_error, read_error = OSError(errno.ENOSPC, "full", "/from/a"), OSError(errno.EIO, "lost", "/from/a")
    write_error.filename2 = read_error.filename2 = "/to/a"
    assert (user_message(write_error) or "").startswith("/to/a: No space left on device")
    assert (user_message(read_error) or "").startswith("/from/a: Input/output error")


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


def test_temporary_file_is_not_written_through_a_symbolic_link(tmp_path: Path) -> None:
    (tmp_path / "mine").write_text("precious")
    with atomic_write(tmp_path / "probe.json") as temporary:
        name = temporary.name
    (tmp_path / name.replace("probe", "a")).symlink_to(tmp_path / "mine")
    write_json(tmp_path / "a.json", {"a": 1})
    assert (tmp_path / "mine").read_text() == "precious"
    assert read_json(tmp_path / "a.json") == {"a": 1}
    assert not (tmp_path / "a.json").is_symlink()


def test_file_names_that_are_not_utf8_survive_json(tmp_path: Path) -> None:
    name = os.fsdecode(b"caf\xe9.jpg")
    write_json(tmp_path / "a.json", {"image": name, "title": "café"})
    assert read_json(tmp_path / "a.json") == {"image": name, "title": "café"}
    assert "café" in (tmp_path / "a.json").read_text(encoding="utf-8")


def test_argument_that_is_not_utf8_is_one_line(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "cloob", "download", "urls", "--reader", "conceptual_captions"]
    command += ["--list", bytes(tmp_path) + b"/caf\xe9"]
    command += ["--urls", f"{tmp_path}/l.parquet", "--outcomes", f"{tmp_path}/f.csv"]
    process = subprocess.run(command, capture_output=True, text=True, check=False)
    assert process.returncode == 2
    assert process.stderr.splitlines()[-1].endswith("caf\\udce9': not UTF-8; rename it or use another path")
