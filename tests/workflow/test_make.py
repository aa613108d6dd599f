"""`make` works in a checkout whose path contains shell metacharacters."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.helpers.repository import ROOT

BIN = Path(sys.executable).parent


def make(root, *targets):
    environment = {name: value for name, value in os.environ.items() if not name.startswith("MAKE")}
    python = f"PYTHON={Path(sys.base_prefix) / 'bin' / 'python3'}"
    command = ["make", "--no-print-directory", python, *targets]
    return subprocess.run(command, cwd=root, env=environment, capture_output=True, text=True, check=False)


@pytest.fixture
def checkout(copy_of_checkout, tmp_path):
    root = copy_of_checkout(tmp_path / "My Work" / "it's R&D, Zoë")
    for name in ("Makefile", "pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, root / name)
    return root


def test_recipes_use_the_environment_of_the_checkout(checkout):
    (checkout / ".venv").mkdir()
    (checkout / ".venv" / "bin").symlink_to(BIN)
    (checkout / ".venv" / "ready").touch()
    done = make(checkout, "lint-workflow")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "in a good condition" in done.stdout + done.stderr


@pytest.mark.slow
def test_a_new_environment_has_working_commands(checkout):
    done = make(checkout, ".venv/ready")
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    for command in ("cloob", "snakemake", "torchrun", "pytest"):
        done = subprocess.run(
            [checkout / ".venv" / "bin" / command, "--help"], capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr
        assert "usage:" in done.stdout


def test_demo_and_ablation_always_write_their_report(checkout):
    (checkout / ".venv").mkdir()
    (checkout / ".venv" / "ready").touch()
    for name in ("demo", "ablation"):
        report = checkout / "results" / name / "report.html"
        report.parent.mkdir(parents=True)
        report.touch()  # newer than all tables
        assert f"--report results/{name}/report.html" in make(checkout, "-n", name).stdout


def test_bench_continues_after_a_failure_and_lists_it_at_the_end(tmp_path):
    for name in ("envs/lock.txt", "pyproject.toml", ".venv/ready"):  # the last one is the newest
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    (tmp_path / ".venv" / "bin").symlink_to(BIN)
    shutil.copy(ROOT / "Makefile", tmp_path)
    (tmp_path / "benchmarks").mkdir()
    (tmp_path / "benchmarks" / "a.py").write_text("raise SystemExit(1)")
    (tmp_path / "benchmarks" / "b.py").write_text("print('| b |')")
    done = make(tmp_path, "bench")
    assert done.returncode
    assert done.stdout.splitlines() == ["benchmarks/a.py", "benchmarks/b.py", "| b |"]
    assert done.stderr.startswith("failed: benchmarks/a.py\n")
