"""A copy of what the pipeline runs from, in which the examples of a page are executed."""

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from tests.helpers.doc_examples import Block, apply_to_checkout
from tests.helpers.repository import ROOT


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A copy of this checkout that examples may change."""
    root = tmp_path / "checkout"
    for folder in ("config", "envs", "slurm", "src", "workflow"):
        shutil.copytree(ROOT / folder, root / folder, ignore=shutil.ignore_patterns("__pycache__"))
    return root


@pytest.fixture
def execute(checkout: Path) -> Callable[[Sequence[Block]], list[str]]:
    """Make the edits that blocks show, then run their commands in the checkout; returns the outputs."""
    environment = os.environ | {
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "PYTHONPATH": str(checkout / "src"),
        "OMP_NUM_THREADS": "1",
    }

    def run(blocks: Sequence[Block]) -> list[str]:
        apply_to_checkout(blocks, checkout)
        outputs = []
        for block in blocks:
            if block.language == "bash":
                command = ["bash", "-euo", "pipefail", "-c", block.code]
            elif block.language == "python" and not block.file:
                command = [sys.executable, "-c", block.code]
            else:
                continue
            done = subprocess.run(
                command, cwd=checkout, env=environment, capture_output=True, text=True, check=False
            )
            assert done.returncode == 0, f"{block.code}\n{done.stdout[-3000:]}{done.stderr[-3000:]}"
            outputs.append(done.stdout + done.stderr)
        return outputs

    return run
