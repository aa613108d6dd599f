"""What goes wrong on a cluster while a run trains: in the end the tables are those of an undisturbed run."""

import os
import shutil
import signal
import time

import pytest
from on_slurm import Pipeline

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1500), pytest.mark.xdist_group("cluster")]
RUN = "cc-infoloob_hopfield-RN_small-cc_small-seed1"
EPOCHS = 40


class Undisturbed(Pipeline):
    """A pipeline whose one run can be trained again and again, from the same shards."""

    def __init__(self, slurm, folder):
        super().__init__(slurm, folder, ["infoloob_hopfield"], epochs=EPOCHS)
        self.table = self.results / "tables" / "zeroshot.csv"
        self.run(self.table)
        self.expected = self.table.read_bytes()

    def training(self, **train):
        """Snakemake, and some steps of the run made since."""
        for stage in ("train", "evaluate"):
            shutil.rmtree(self.results / stage / RUN, ignore_errors=True)
        self.table.unlink(missing_ok=True)
        process = self.start(self.table, **train)
        log = self.results / "train" / RUN / "checkpoints" / "metrics.jsonl"
        while not (log.exists() and log.read_text().count('"step"') > 3):
            assert process.poll() is None, process.communicate()[0][-5000:]
            time.sleep(0.2)
        return process

    def job(self):
        """The number of the training job, and its node."""
        jobs = self.slurm.ask("squeue", "-h", "--states=RUNNING", "-o", "%i|%k|%N").splitlines()
        return next(line.split("|")[::2] for line in jobs if "rule_train" in line)

    def starts(self):
        log = (self.results / "train" / RUN / "metrics.jsonl").read_text()
        return log.count('"event": "start"')

    def assert_ends_the_same(self, process, least_starts=2):
        output, _ = process.communicate()
        assert process.returncode == 0, output[-5000:]
        assert self.table.read_bytes() == self.expected
        assert self.starts() >= least_starts, "nothing disturbed it"


@pytest.fixture(scope="module")
def undisturbed(slurm, tmp_path_factory):
    return Undisturbed(slurm, tmp_path_factory.mktemp("faults"))


def test_a_cancelled_job_is_retried_and_goes_on(undisturbed):
    process = undisturbed.training()
    undisturbed.slurm.ask("scancel", undisturbed.job()[0])
    undisturbed.assert_ends_the_same(process)


def test_a_requeued_job_goes_on(undisturbed):
    process = undisturbed.training()
    undisturbed.slurm.ask("scontrol", "requeue", undisturbed.job()[0])
    undisturbed.assert_ends_the_same(process)


def test_a_job_that_meets_its_limit_saves_and_is_retried(undisturbed):
    # Its signal comes a minute after the start, or earlier: Slurm looks at its clock now and then.
    process = undisturbed.training(runtime=2, slurm_extra="'--signal=USR1@60'")
    undisturbed.assert_ends_the_same(process)


def test_a_node_whose_daemon_dies_and_returns_costs_nothing_but_time(undisturbed):
    process = undisturbed.training()
    _, node = undisturbed.job()
    undisturbed.slurm.kill_node(node)
    time.sleep(15)
    undisturbed.slurm.start_node(node)
    # The job's own processes outlive the daemon; where it stays away for longer, Slurm requeues the job.
    undisturbed.assert_ends_the_same(process, least_starts=1)


def test_snakemake_killed_and_started_again_goes_on(undisturbed):
    process = undisturbed.training()
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    undisturbed.slurm.ask("scancel", undisturbed.job()[0])
    undisturbed.assert_ends_the_same(undisturbed.start(undisturbed.table))
