import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="session")
def snakemake():
    """Run snakemake in the root of the repository, as a user would; returns the finished process."""
    environment = os.environ | {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}

    def run(*arguments, before=()):
        return subprocess.run(
            [*before, "snakemake", *map(str, arguments)],
            cwd=ROOT,
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )

    return run


@pytest.fixture
def config_with(tmp_path):
    """Write a config that is laid over the default one; returns its path."""

    def write(content):
        path = tmp_path / "changed.yaml"
        path.write_text(yaml.safe_dump(content))
        return path

    return write
