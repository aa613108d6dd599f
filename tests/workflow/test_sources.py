"""The sources are clean by the tools that a contributor would run."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.helpers.repository import ROOT

BIN = Path(sys.executable).parent


@pytest.mark.parametrize(
    "command",
    [
        ("ruff", "check", "."),
        ("ruff", "format", "--check", "."),
        ("snakefmt", "--check", "workflow"),
        ("snakemake", "--lint"),
        ("snakemake", "--lint", "--configfile", "config/demo.yaml"),
    ],
    ids=" ".join,
)
def test_clean(command):
    done = subprocess.run(
        [BIN / command[0], *command[1:]], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    if "--lint" in command:
        assert "in a good condition" in done.stdout + done.stderr


def test_the_snakefile_tells_the_story_in_under_sixty_lines():
    assert len((ROOT / "workflow" / "Snakefile").read_text().splitlines()) < 60


def test_no_program_knows_of_snakemake():
    found = [path for path in (ROOT / "src").rglob("*.py") if "import snakemake" in path.read_text()]
    assert found == []
