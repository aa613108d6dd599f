"""Features on disk: made once, by one process, and nothing damaged or unfinished is taken."""

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
def test_a_damaged_file_is_named_and_made_again(tmp_path: Path, capsys, damage: str) -> None:
    def make() -> dict[str, Tensor]:
        return {"after": torch.arange(12.0).reshape(3, 4)}

    cached(tmp_path, "set", {"of": 1}, make)
    [path] = tmp_path.glob("*.safetensors")
    content = bytearray(path.read_bytes())
    if damage == "a bit":
        content[-5] ^= 4
    path.write_bytes({"the end": content[:-3], "everything": b"gone"}.get(damage, bytes(content)))
    if damage == "another key":
        cached(tmp_path / "other", "set", {"of": 2}, make)
        [other] = (tmp_path / "other").glob("*.safetensors")
        other.rename(path)
    assert torch.equal(cached(tmp_path, "set", {"of": 1}, make)["after"], make()["after"])
    assert f"{path} is made again: " in capsys.readouterr().out
    cached(tmp_path, "set", {"of": 1}, make)
    assert capsys.readouterr().out == ""


def test_features_that_are_no_numbers_are_refused_and_not_kept(tmp_path: Path) -> None:
    rows = torch.ones(4, 3)
    rows[2, 1] = torch.inf
    with pytest.raises(InputError, match=r"set: 1 of 4 embeddings \(after\) are not finite"):
        cached(tmp_path, "set", {}, lambda: {"after": rows})
    assert list(tmp_path.glob("*.safetensors")) == []


def test_the_hash_of_weights_is_of_values_not_of_order_or_strides() -> None:
    weights = {"a": torch.randn(2, 3, 4, 5), "b": torch.tensor(3), "c": torch.ones(2, dtype=torch.bfloat16)}
    there = {name: weights[name] for name in "cba"}
    there["a"] = weights["a"].to(memory_format=torch.channels_last)
    assert tensors_sha256(there) == tensors_sha256(weights)
    assert tensors_sha256(weights | {"b": torch.tensor(3, dtype=torch.int32)}) != tensors_sha256(weights)
    assert tensors_sha256(weights | {"b": torch.tensor([3])}) != tensors_sha256(weights)


# Says that it is ready, and makes the features only once the other one is ready too, and had time to look.
MAKER = """
import sys, time
from pathlib import Path
import torch
from cloob.evaluate.features.cache import cached

folder, number = Path(sys.argv[1]), sys.argv[2]

def make():
    (folder / f"made_{number}").touch()
    while len(list(folder.glob("ready_*"))) < 2:
        time.sleep(0.01)
    time.sleep(0.5)
    return {"after": torch.full((2, 3), float(number))}

(folder / f"ready_{number}").touch()
print(cached(folder / "cache", "set", {}, make)["after"][0, 0].item())
"""


def test_of_two_jobs_at_once_one_makes_the_features_and_the_other_takes_them(tmp_path: Path) -> None:
    makers = [
        subprocess.Popen([sys.executable, "-c", MAKER, tmp_path, number], stdout=subprocess.PIPE, text=True)
        for number in "12"
    ]
    said = [maker.communicate(timeout=60)[0].strip() for maker in makers]
    [made] = tmp_path.glob("made_*")
    assert said == [f"{made.name[-1]}.0"] * 2


@pytest.mark.parametrize("locks", [True, False])
def test_what_a_killed_job_left_is_deleted_where_no_other_can_be_at_work(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, locks: bool
) -> None:
    def refuse(*of: object) -> None:
        raise OSError(errno.ENOLCK, "no locks here")

    cached(tmp_path, "set", {}, lambda: {"after": torch.ones(2, 3)})
    [path] = tmp_path.glob("*.safetensors")
    path.unlink()
    left = tmp_path / f".{path.stem}.node7.123.safetensors"
    others = tmp_path / ".set_0123456789abcdef.node7.123.safetensors"
    for unfinished in (left, others):
        unfinished.write_bytes(b"unfinished")
    if not locks:
        monkeypatch.setattr(fcntl, "lockf", refuse)
    cached(tmp_path, "set", {}, lambda: {"after": torch.ones(2, 3)})
    assert path.exists() and others.exists()
    assert left.exists() != locks


def test_an_unfinished_file_carries_its_node_and_keeps_its_suffix(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = []
    for node in ("node1", "node2"):
        monkeypatch.setattr(os, "uname", lambda node=node: os.uname_result(("Linux", node, "", "", "")))
        with atomic_write(tmp_path / "table.csv") as beside:
            beside.write_text("a\n")
            names.append(beside.name)
    assert names == [f".table.node{number}.{os.getpid()}.csv" for number in (1, 2)]
    assert [each.name for each in tmp_path.iterdir()] == ["table.csv"]
