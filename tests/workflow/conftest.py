import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from tests.helpers.repository import ROOT


@pytest.fixture(scope="session")
def snakemake():
    """Run snakemake in the root of a checkout (by default this one); returns the finished process.

    `before` is put before the command, `programs` are folders to put before PATH.
    """
    installed = [str(Path(sys.executable).parent), os.environ["PATH"]]

    def run(*arguments, before=(), programs=(), root=ROOT):
        return subprocess.run(
            [*before, "snakemake", *map(str, arguments)],
            cwd=root,
            env=os.environ | {"PATH": ":".join([*map(str, programs), *installed])},
            capture_output=True,
            text=True,
            check=False,
        )

    return run


@pytest.fixture(scope="session")
def copy_of_checkout():
    """Copy everything that the pipeline needs to another directory; returns that directory."""

    def copy(root):
        for folder in ("config", "envs", "slurm", "src", "workflow"):
            shutil.copytree(ROOT / folder, root / folder, ignore=shutil.ignore_patterns("__pycache__"))
        return root

    return copy


@pytest.fixture(scope="session")
def awkward_checkout(copy_of_checkout, tmp_path_factory):
    """A copy of this checkout below directories whose names contain shell metacharacters."""
    return copy_of_checkout(tmp_path_factory.mktemp("checkout") / "My Work" / "it's R&D, Zoë")


@pytest.fixture
def config_with(tmp_path):
    """Write a config file that overrides keys of the default one; returns its path."""

    def write(content):
        path = tmp_path / "changed.yaml"
        path.write_text(yaml.safe_dump(content))
        return path

    return write


@pytest.fixture
def in_repository(monkeypatch):
    """Run in the root of the repository, to which the paths of the config are relative."""
    monkeypatch.chdir(ROOT)
