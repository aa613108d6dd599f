import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from private_slurm import free_ports, private_slurm

ROOT = Path(__file__).parents[2]
MISSING = [
    name
    for name in ("slurmctld", "slurmd", "munged")
    if not shutil.which(name, path=f"{os.environ['PATH']}:/usr/sbin")
]


@pytest.fixture(scope="session")
def slurm(tmp_path_factory):
    """A Slurm of two nodes with four counted GPUs each."""
    if MISSING:
        pytest.skip(f"no {', '.join(MISSING)} here: `make slurm` installs Debian's packages, as root")
    with private_slurm(tmp_path_factory.mktemp("slurm") / "cluster") as cluster:
        yield cluster
