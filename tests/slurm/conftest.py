"""A private Slurm cluster, and the pipeline run on it with the profile of the repository."""

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
    """A Slurm cluster of two nodes with four (counted, not real) GPUs each."""
    path = f"{os.environ['PATH']}:/usr/sbin"
    if missing := [name for name in DAEMONS if not shutil.which(name, path=path)]:
        pytest.skip(f"{', '.join(missing)} not installed; `make slurm` installs Debian's packages, as root")
    with ExitStack() as stack:
        try:
            cluster = stack.enter_context(private_slurm(tmp_path_factory.mktemp("slurm") / "cluster"))
        except RuntimeError as error:
            pytest.skip(f"Debian's Slurm does not start on this machine: {error}")
        yield cluster


@pytest.fixture(scope="session")
def pipeline(slurm, tmp_path_factory):
    """The pipeline on a tenth of the demo's toy dataset, run from scratch by one command."""
    pipeline = Pipeline(slurm, tmp_path_factory.mktemp("pipeline"))
    try:
        pipeline.output = pipeline.run("all")
        pipeline.record_jobs()
        yield pipeline
    finally:
        pipeline.stop()


@pytest.fixture
def pipeline_copy(pipeline, tmp_path):
    """A copy of the finished pipeline that a test may modify."""
    copy = pipeline.copy(tmp_path)
    yield copy
    copy.stop()
    pipeline.slurm.run_command("scancel", "--user", str(os.getuid()))
    pipeline.slurm.wait_for_no_job()
