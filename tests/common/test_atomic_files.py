"""Atomic writes: complete or absent, never through a symbolic link, with errors that name the file."""

import resource
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

from cloob.common.atomic_files import atomic_write
from cloob.common.errors import user_message
from cloob.common.json_files import read_json, write_json
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


def test_temporary_file_is_not_written_through_a_symbolic_link(tmp_path: Path) -> None:
    (tmp_path / "mine").write_text("precious")
    with atomic_write(tmp_path / "probe.json") as temporary:
        name = temporary.name
    (tmp_path / name.replace("probe", "a")).symlink_to(tmp_path / "mine")
    write_json(tmp_path / "a.json", {"a": 1})
    assert (tmp_path / "mine").read_text() == "precious"
    assert read_json(tmp_path / "a.json") == {"a": 1}
    assert not (tmp_path / "a.json").is_symlink()
