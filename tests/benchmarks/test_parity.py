"""The comparison with the authors' code: what runs without their code, and all of it if they are given."""

import math
import os
import re
import subprocess
import sys
from dataclasses import astuple, replace
from pathlib import Path

import pytest
import torch

from benchmarks.parity.__main__ import main, make_parser
from benchmarks.parity.batches import OPEN_CLIP_CONFIG, make_batches
from benchmarks.parity.cases import BATCH_SIZE, CASES, SETTINGS, Case, Setting
from benchmarks.parity.evaluation import count_distinct
from benchmarks.parity.history import History, difference
from benchmarks.parity.ours import train_ours
from benchmarks.parity.tables import training_table
from cloob.models.clip import build_model
from cloob.train.distributed import init_distributed
from tests.helpers.repository import ROOT


def make_history(offset: float = 0.0, statistic: float = 0.0) -> History:
    initial = {"weight": torch.zeros(4), "bn1.running_mean": torch.ones(4), "logit_scale": torch.tensor(1.0)}
    final = {
        "weight": torch.tensor([3.0, 4.0, 0.0, offset]),
        "bn1.running_mean": torch.full((4,), 2.0 + statistic),
        "logit_scale": torch.tensor(2.0),
    }
    return History([4.0, 2.0, 0.1], [0.0, 1e-3, 5e-4], [30.0, 31.0, 32.0, 33.0], initial, final)


def test_a_history_does_not_differ_from_itself(tmp_path: Path) -> None:
    make_history().save(tmp_path / "history.pt")
    assert astuple(difference(make_history(), History.load(tmp_path / "history.pt"))) == (0, 0, 0, 0, 0)


def test_weights_are_compared_with_the_distance_that_training_moved_them() -> None:
    apart = difference(make_history(), make_history(offset=0.05, statistic=0.02))
    assert apart.weights == pytest.approx(0.05 / 5)
    assert apart.batchnorm == pytest.approx(0.02 / 2)


def test_losses_near_zero_are_compared_with_a_twentieth_of_the_first() -> None:
    ours = replace(make_history(), losses=[4.0, 2.02, 0.11])
    assert difference(make_history(), ours).loss == pytest.approx(0.01 / 0.2)


def test_the_largest_difference_of_rate_and_temperature_counts() -> None:
    ours = replace(
        make_history(), learning_rates=[0.0, 1e-3, 6e-4], inv_temperatures=[30.0, 31.0, 32.0, 34.65]
    )
    apart = difference(make_history(), ours)
    assert apart.learning_rate == pytest.approx(0.1)
    assert apart.temperature == pytest.approx(0.05)


def test_other_numbers_of_steps_or_other_weights_cannot_be_compared() -> None:
    with pytest.raises(ValueError, match="3 and 2 steps"):
        difference(make_history(), replace(make_history(), losses=[4.0, 2.0]))
    with pytest.raises(ValueError, match="only one of the models has logit_scale, weight"):
        difference(make_history(), replace(make_history(), final={"bn1.running_mean": torch.ones(4)}))


def test_the_table_has_a_row_per_run_and_states_its_options() -> None:
    histories = dict.fromkeys([*SETTINGS, *CASES], make_history())
    rows = [line for line in training_table(histories, 3).splitlines() if line.startswith("| C")]
    assert len(rows) == len(CASES) + sum(setting.precision == "float32" for setting in SETTINGS)
    assert sum("decay_temperature false" in row for row in rows) == 1
    assert sum("adam_eps 1e-08" in row for row in rows) == 1
    assert all(row.count(" 0 |") == 5 for row in rows)


def test_our_half_trains_on_the_batches_from_given_weights() -> None:
    torch.manual_seed(0)
    initial = build_model(OPEN_CLIP_CONFIG).double().state_dict()
    case = Case(Setting("clip", 1, "float64"))
    initial["logit_scale"].fill_(math.log(14.3))
    with init_distributed():
        history = train_ours(make_batches(3, BATCH_SIZE), initial, case, rank=0)
    assert history.learning_rates == pytest.approx([0, 5e-5, 1e-4])
    assert history.inv_temperatures[:2] == pytest.approx([14.3, 14.3])
    assert not torch.equal(history.final["visual.conv1.weight"], initial["visual.conv1.weight"])
    assert math.isfinite(history.losses[-1])


def make_checkout(folder: Path, content: str) -> Path:
    file = folder / content
    file.parent.mkdir(parents=True)
    file.touch()
    git = ["git", "-C", folder, "-c", "user.name=a", "-c", "user.email=a@example.org"]
    for command in (["init", "-q"], ["add", "."], ["commit", "-qm", "x"]):
        subprocess.run([*git, *command], check=True)
    return folder


def run_main(authors: Path, capsys: pytest.CaptureFixture[str]) -> str:
    assert main([f"--authors={authors}", f"--hopfield={authors}"]) == 2
    message = capsys.readouterr().err
    assert message.count("\n") == 1
    return message


def test_a_missing_checkout_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert "no such folder; clone" in run_main(tmp_path / "none", capsys)


def test_another_folder_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert "src/training/main.py is missing; give a checkout" in run_main(tmp_path, capsys)


def test_a_folder_without_git_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "src" / "training").mkdir(parents=True)
    (tmp_path / "src" / "training" / "main.py").touch()
    assert "no git checkout" in run_main(tmp_path, capsys)


def test_another_commit_is_one_line_with_both(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    message = run_main(make_checkout(tmp_path / "a", "src/training/main.py"), capsys)
    assert re.search(r"commit \w{12}, but the comparison was tested with 357adda017e4;", message)
    # `make parity` has no such flag.
    command = "python -m benchmarks.parity --authors=AUTHORS --hopfield=HOPFIELD --any-commit"
    assert message.rstrip().endswith(f"or `{command}` accepts it")
    make_parser().parse_args(command.split()[3:])


def test_a_single_step_compares_nothing_because_its_learning_rate_is_zero(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with pytest.raises(SystemExit) as exit_:
        main(["--authors=a", "--hopfield=b", "--steps=1"])
    assert exit_.value.code == 2
    assert "--steps: give at least 2" in capsys.readouterr().err


def test_embeddings_are_distinct_if_none_before_them_is_equal() -> None:
    directions = torch.eye(3)
    assert count_distinct(directions) == 3
    assert count_distinct(2 * directions[[0, 1, 0, 1]]) == 2
    assert count_distinct(directions[[2, 2, 2]]) == 1


def test_make_names_the_missing_variables() -> None:
    done = subprocess.run(
        ["make", "-o", ".venv/ready", "parity"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode != 0
    assert "make parity AUTHORS=" in done.stderr


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_our_training_is_theirs_in_float64() -> None:
    folders = [os.environ.get(name) for name in ("AUTHORS", "HOPFIELD")]
    if not all(folders):
        pytest.skip("set AUTHORS and HOPFIELD to checkouts of ml-jku/cloob and ml-jku/hopfield-layers")
    command = [
        sys.executable,
        "-m",
        "benchmarks.parity",
        f"--authors={folders[0]}",
        f"--hopfield={folders[1]}",
    ]
    done = subprocess.run([*command, "--steps=20"], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in done.stdout.splitlines()]
    compared = [row for row in rows if len(row) == 9 and row[2] == "float64"]
    equal = [row for row in compared if "false" not in row[3] and "1e-08" not in row[3]]
    assert len(equal) == 4
    for row in equal:
        loss, weights, _, rate, temperature = map(float, row[4:])
        assert max(loss, weights, rate, temperature) < 1e-8, row
    converted = {row[0]: float(row[1]) for row in rows if len(row) == 2 and row[0].endswith("embeddings")}
    assert converted.keys() == {"image embeddings", "text embeddings"}
    assert max(converted.values()) < 1e-5
