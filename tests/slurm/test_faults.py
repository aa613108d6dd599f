"""What goes wrong on a cluster while a run trains: in the end the tables are those of an undisturbed run."""

import signal

import pytest

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1500), pytest.mark.xdist_group("cluster")]


@pytest.fixture
def ends_the_same(pipeline, again):
    """Assert that snakemake makes the undisturbed table, from a run that was started so many times."""

    def check(process, starts):
        output = again.end_of(process)
        assert again.table.read_bytes() == pipeline.table.read_bytes()
        assert len(again.events("start")) == starts
        assert [start["restarts"] for start in again.events("start")] == list(range(starts))
        return output

    return check


def test_a_cancelled_job_is_retried_and_goes_on(again, ends_the_same):
    process = again.training()
    again.slurm.ask("scancel", again.job()[0])
    assert "SLURM status is: 'CANCELLED'" in ends_the_same(process, starts=2)


def test_a_requeued_job_goes_on_under_its_number(again, ends_the_same):
    process = again.training()
    again.slurm.ask("scontrol", "requeue", again.job()[0])
    assert "SLURM status is" not in ends_the_same(process, starts=2)


def test_a_job_that_a_partition_of_higher_priority_preempts_saves_and_is_retried(again, ends_the_same):
    process = again.training()
    every_gpu = ["--partition=urgent", "--nodes=2", "--gres=gpu:4", "--output=/dev/null"]
    urgent = again.slurm.ask("sbatch", "--parsable", *every_gpu, "--wrap=sleep 5").strip()
    ends_the_same(process, starts=2)
    assert "COMPLETED" in again.slurm.ask("scontrol", "show", "job", urgent)
    # It saved after its step and not only at the end of the epoch.
    assert again.events("start")[1]["samples_seen"] > again.events("validation")[0]["samples_seen"]


def test_a_job_that_comes_to_its_limit_saves_and_is_retried(again, ends_the_same):
    process = again.training()
    # It has little more left than the two minutes of the profile's warning; Slurm looks twice a minute, and
    # lets held processes go on to hear it.
    job, _ = again.job()
    again.slurm.ask("scontrol", "update", f"JobId={job}", f"TimeLimit={again.slurm.minutes_of(job) + 3}")
    assert "SLURM status is: 'FAILED'" in ends_the_same(process, starts=2)
    # It saved after its step and not only at the end of the epoch.
    assert again.events("start")[1]["samples_seen"] > again.events("validation")[0]["samples_seen"]


def test_a_job_whose_node_dies_goes_on_elsewhere(again, ends_the_same):
    process = again.training()
    _, node = again.job()
    again.slurm.cut_power(node)
    again.slurm.wait_for_node(node, "down")
    again.slurm.start_node(node)
    ends_the_same(process, starts=2)
    again.slurm.wait_for_node(node, "idle")


def test_a_node_whose_daemon_is_started_again_trains_on(again, ends_the_same):
    process = again.training()
    _, node = again.job()
    again.slurm.kill_daemon(node)
    again.slurm.start_node(node)
    again.slurm.wait_for_node(node, "mixed", "allocated")
    again.signal(signal.SIGCONT)
    ends_the_same(process, starts=1)


def test_snakemake_killed_and_started_again_says_what_to_do_and_goes_on(again, ends_the_same):
    again.training()
    again.stop()
    assert "--unlock" in again.run(again.table, status=1)
    again.run(again.table, "--unlock")
    # Its job is still there: a second one is refused, and says why.
    assert "in use by another process; wait for it or stop it" in again.run(
        again.table, "--retries", 0, status=1
    )
    again.slurm.ask("scancel", again.job()[0])
    again.slurm.wait_for_no_job()
    ends_the_same(again.start(again.table), starts=2)
