"""Whole runs of `cloob train run`, as the pipeline starts them, on 22 pairs."""

import json
import shutil
import subprocess
import sys

import pytest
import torch
from recipes import BASE

pytestmark = pytest.mark.timeout(300)


def command(shards, model, folder, *, processes=1, objective="infoloob_hopfield", **changes):
    recipe = [f"--{name.replace('_', '-')}={value}" for name, value in (BASE | changes).items()]
    launcher = ["-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={processes}", "-m", "cloob"]
    return [
        sys.executable,
        *(launcher if processes > 1 else ["-m", "cloob"]),
        *("train", "run", f"--shards={shards}", f"--validation={shards}", f"--folder={folder}"),
        *(f"--model={model}", "--workers=0", "--corpus=cc", f"--objective={objective}"),
        *("--architecture=tiny", "--recipe=test", "--seed=3", "--keep-epochs", "1", *recipe),
    ]


def run(*arguments, **changes):
    return subprocess.run(command(*arguments, **changes), capture_output=True, text=True, check=False)


def events(folder, kind):
    lines = map(json.loads, (folder / "metrics.jsonl").read_text().splitlines())
    return [line for line in lines if line["event"] == kind]


@pytest.fixture(scope="module")
def finished(shards, model, tmp_path_factory):
    """An uninterrupted run of three epochs."""
    folder = tmp_path_factory.mktemp("runs") / "whole"
    done = run(shards, model, folder)
    assert done.returncode == 0, done.stderr
    return folder


def test_a_run_leaves_a_final_checkpoint_and_its_metrics(finished):
    final = torch.load(finished / "final.pt", weights_only=True)
    assert (final["epoch"], final["samples_seen"]) == (3, 48)
    assert final["run"]["name"] == "cc-infoloob_hopfield-tiny-test-seed3"
    assert [step["step"] for step in events(finished, "step")] == [1, 2, 3, 4, 5, 6]
    assert [event["epoch"] for event in events(finished, "validation")] == [1, 2, 3]
    assert sorted(path.name for path in finished.iterdir()) == ["checkpoints", "final.pt", "metrics.jsonl"]


def test_cloob_keeps_its_temperature(finished):
    temperatures = [step["inverse_temperature"] for step in events(finished, "step")]
    assert temperatures == pytest.approx([30.0] * 6)


def test_interrupted_and_resumed_equals_uninterrupted_to_the_bit(finished, shards, model, tmp_path):
    folder = tmp_path / "resumed"
    (folder / "checkpoints").mkdir(parents=True)
    shutil.copy(finished / "checkpoints" / "epoch_0002.pt", folder / "checkpoints")
    shutil.copy(finished / "checkpoints" / "metrics.jsonl", folder / "checkpoints")
    torn = (finished / "checkpoints" / "epoch_0003.pt").read_bytes()[:1000]
    (folder / "checkpoints" / "epoch_0003.pt").write_bytes(torn)
    done = run(shards, model, folder)
    assert done.returncode == 0, done.stderr
    assert "is passed over" in done.stdout
    whole, resumed = (torch.load(path / "final.pt", weights_only=True) for path in (finished, folder))
    for name, weight in whole["state_dict"].items():
        assert torch.equal(weight, resumed["state_dict"][name]), name
    losses = [[step["loss"] for step in events(path, "step")] for path in (finished, folder)]
    assert losses[0] == losses[1]


def test_another_recipe_is_refused_in_one_line(finished, shards, model, tmp_path):
    folder = tmp_path / "copy"
    shutil.copytree(finished, folder)
    done = run(shards, model, folder, learning_rate=5e-4)
    assert done.returncode == 2
    assert done.stderr.startswith("cloob train run: error: ")
    assert "learning_rate 0.001 there, 0.0005 now" in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_two_processes_train_with_either_objective_and_repeat_themselves(shards, model, tmp_path):
    finals = []
    for name, objective in (("a", "infonce"), ("b", "infonce")):
        done = run(
            shards,
            model,
            tmp_path / name,
            processes=2,
            objective=objective,
            epochs=1,
            learn_temperature=True,
            inverse_temperature=14.3,
        )
        assert done.returncode == 0, done.stderr
        finals.append(torch.load(tmp_path / name / "final.pt", weights_only=True)["state_dict"])
    assert all(torch.equal(finals[0][name], finals[1][name]) for name in finals[0])
    rates = [step["inverse_temperature"] for step in events(tmp_path / "a", "step")]
    assert rates[0] == pytest.approx(14.3)
