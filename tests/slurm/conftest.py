"""A Slurm of one's own, and the pipeline on it through the true profile."""

import os
import shutil
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.helpers.on_slurm import Pipeline
from tests.helpers.private_slurm import private_slurm

DAEMONS = ("slurmctld", "slurmd", "munged")


def pytest_collection_modifyitems(items):
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.cluster)


@pytest.fixture(scope="session")
def slurm(tmp_path_factory):
    """A Slurm of two nodes with four counted GPUs each."""
    path = f"{os.environ['PATH']}:/usr/sbin"
    if missing := [name for name in DAEMONS if not shutil.which(name, path=path)]:
        pytest.skip(f"no {', '.join(missing)} here: `make slurm` installs Debian's packages, as root")
    with ExitStack() as stack:
        try:
            cluster = stack.enter_context(private_slurm(tmp_path_factory.mktemp("slurm") / "cluster"))
        except RuntimeError as error:  # of the machine: the pipeline is not yet begun
            pytest.skip(f"Debian's Slurm does not start here: {error}")
        yield cluster


@pytest.fixture(scope="session")
def pipeline(slurm, tmp_path_factory):
    """The pipeline of a tenth of the demo's world, run from nothing to the end by one command."""
    made = Pipeline(slurm, tmp_path_factory.mktemp("pipeline"))
    try:
        made.output = made.run("all")
        made.note_jobs()
        yield made
    finally:
        made.stop()


@pytest.fixture
def again(pipeline, tmp_path):
    """A copy of the finished pipeline, to be disturbed."""
    made = pipeline.copy(tmp_path)
    yield made
    made.stop()
    pipeline.slurm.ask("scancel", "--user", str(os.getuid()))
    pipeline.slurm.wait_for_no_job()
