"""The feature cache: computed once, by one process; damaged and incomplete files are never used."""

import errno
import fcntl
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import Tensor

from cloob.common.atomic_files import atomic_write
from cloob.common.errors import InputError
from cloob.evaluate.features.cache import cached, tensors_sha256


@pytest.mark.parametrize("damage", ["a bit", "the end", "everything", "another key"])
def test_damaged_file_is_reported_and_recomputed(tmp_path: Path, capsys, damage: str) -> None:
    def compute() -> dict[str, Tensor]:
        return {"after": torch.arange(12.0).reshape(3, 4)}

    cached(tmp_path, "set", {"of": 1}, compute)
    [path] = tmp_path.glob("*.safetensors")
    content = bytearray(path.read_bytes())
    if damage == "a bit":
        content[-5] ^= 4
    path.write_bytes({"the end": content[:-3], "everything": b"gone"}.get(damage, bytes(content)))
    if damage == "another key":
        cached(tmp_path / "other", "set", {"of": 2}, compute)
        [other] = (tmp_path / "other").glob("*.safetensors")
        other.rename(path)
    assert torch.equal(cached(tmp_path, "set", {"of": 1}, compute)["after"], compute()["after"])
    assert f"{path} is recomputed: " in capsys.readouterr().out
    cached(tmp_path, "set", {"of": 1}, compute)
    assert capsys.readouterr().out == ""


def test_tensors_are_mapped_from_the_file_and_released_pages_read_again(tmp_path: Path) -> None:
    expected = {
        "after": torch.randn(300_000, 16),
        "before": torch.randn(3, 4).half(),
        "none": torch.ones(0, 4),
    }
    for tensors in (cached(tmp_path, "set", {}, expected.copy), cached(tmp_path, "set", {}, dict)):
        for _ in range(2):
            assert tensors.keys() == expected.keys()
            assert all(torch.equal(tensors[name], tensor) for name, tensor in expected.items())
            size, resident = 4 * 16 * 300_000, resident_bytes()
            tensors.release_pages()
            assert resident - resident_bytes() > 0.8 * size


def resident_bytes() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGESIZE")


def test_non_finite_features_are_rejected_and_not_cached(tmp_path: Path) -> None:
    rows = torch.ones(4, 3)
    rows[2, 1] = torch.inf
    with pytest.raises(InputError, match=r"set: 1 of 4 embeddings \(after\) are not finite"):
        cached(tmp_path, "set", {}, lambda: {"after": rows})
    assert list(tmp_path.glob("*.safetensors")) == []


def test_hash_of_tensors_depends_on_values_but_not_on_order_or_strides() -> None:
    weights = {"a": torch.randn(2, 3, 4, 5), "b": torch.tensor(3), "c": torch.ones(2, dtype=torch.bfloat16)}
    reordered = {name: weights[name] for name in "cba"}
    reordered["a"] = weights["a"].to(memory_format=torch.channels_last)
    assert tensors_sha256(reordered) == tensors_sha256(weights)
    assert tensors_sha256(weights | {"b": torch.tensor(3, dtype=torch.int32)}) != tensors_sha256(weights)
    assert tensors_sha256(weights | {"b": torch.tensor([3])}) != tensors_sha256(weights)


# Computes the features only once the other process is ready too and had time to look for the file.
COMPUTE = """
import sys, time
from pathlib import Path
import torch
from cloob.evaluate.features.cache import cached

folder, number = Path(sys.argv[1]), sys.argv[2]

def compute():
    (folder / f"computed_{number}").touch()
    while len(list(folder.glob("ready_*"))) < 2:
        time.sleep(0.01)
    time.sleep(0.5)
    return {"after": torch.full((2, 3), float(number))}

(folder / f"ready_{number}").touch()
print(cached(folder / "cache", "set", {}, compute)["after"][0, 0].item())
"""


def test_one_of_two_concurrent_jobs_computes_and_the_other_waits_for_the_result(tmp_path: Path) -> None:
    jobs = [
        subprocess.Popen([sys.executable, "-c", COMPUTE, tmp_path, number], stdout=subprocess.PIPE, text=True)
        for number in "12"
    ]
    outputs = [job.communicate(timeout=60)[0].strip() for job in jobs]
    [computed] = tmp_path.glob("computed_*")
    assert outputs == [f"{computed.name[-1]}.0"] * 2


@pytest.mark.parametrize("locks", [True, False])
def test_leftovers_of_a_killed_job_are_deleted_if_file_locks_work(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, locks: bool
) -> None:
    def no_locks(*arguments: object) -> None:
        raise OSError(errno.ENOLCK, "no locks here")

    cached(tmp_path, "set", {}, lambda: {"after": torch.ones(2, 3)})
    [path] = tmp_path.glob("*.safetensors")
    path.unlink()
    leftover = tmp_path / f".{path.stem}.node7.123.safetensors"
    others = tmp_path / ".set_0123456789abcdef.node7.123.safetensors"
    for unfinished in (leftover, others):
        unfinished.write_bytes(b"unfinished")
    if not locks:
        monkeypatch.setattr(fcntl, "lockf", no_locks)
    cached(tmp_path, "set", {}, lambda: {"after": torch.ones(2, 3)})
    assert path.exists() and others.exists()
    assert leftover.exists() != locks


def test_temporary_file_names_the_node_and_keeps_the_suffix(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = []
    for node in ("node1", "node2"):
        monkeypatch.setattr(os, "uname", lambda node=node: os.uname_result(("Linux", node, "", "", "")))
        with atomic_write(tmp_path / "table.csv") as temporary:
            temporary.write_text("a\n")
            names.append(temporary.name)
    assert names == [f".table.node{number}.{os.getpid()}.csv" for number in (1, 2)]
    assert [path.name for path in tmp_path.iterdir()] == ["table.csv"]
