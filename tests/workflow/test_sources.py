"""The sources pass the linters and the type checker."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.helpers.repository import ROOT

BIN = Path(sys.executable).parent


def run(*command: str) -> str:
    """Run a program of the environment in the root of the repository; returns its output."""
    done = subprocess.run(
        [BIN / command[0], *command[1:]], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


@pytest.mark.parametrize(
    "command",
    [
        ("ruff", "check", "."),
        ("ruff", "format", "--check", "."),
        ("snakefmt", "--check", "workflow"),
        ("mypy",),
    ],
    ids=" ".join,
)
def test_linters_and_type_checker_pass(command: tuple[str, ...]) -> None:
    run(*command)


@pytest.mark.parametrize("config", [(), ("--configfile", "config/demo.yaml")], ids=["default", "demo"])
def test_snakemake_lint_passes(config: tuple[str, ...]) -> None:
    assert "in a good condition" in run("snakemake", "--lint", *config)


def test_snakefile_has_less_than_70_lines() -> None:
    assert len((ROOT / "workflow" / "Snakefile").read_text().splitlines()) < 70
