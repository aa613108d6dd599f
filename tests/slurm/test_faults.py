"""Faults of a cluster during training: the resulting tables are those of an undisturbed run."""

import signal

import pytest

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1500), pytest.mark.xdist_group("cluster")]


@pytest.fixture
def assert_same_table(pipeline, pipeline_copy):
    """Wait for Snakemake; assert the number of starts, and that the table is the undisturbed one."""

    def check(process, starts):
        output = pipeline_copy.wait(process)
        assert pipeline_copy.table.read_bytes() == pipeline.table.read_bytes()
        assert len(pipeline_copy.events("start")) == starts
        assert [start["restarts"] for start in pipeline_copy.events("start")] == list(range(starts))
        return output

    return check


def test_a_canceled_job_is_retried_and_resumes(pipeline_copy, assert_same_table):
    process = pipeline_copy.start_training()
    pipeline_copy.slurm.run_command("scancel", pipeline_copy.job()[0])
    assert "SLURM status is: 'CANCELLED'" in assert_same_table(process, starts=2)


def test_a_requeued_job_resumes_with_the_same_job_id(pipeline_copy, assert_same_table):
    process = pipeline_copy.start_training()
    pipeline_copy.slurm.run_command("scontrol", "requeue", pipeline_copy.job()[0])
    assert "SLURM status is" not in assert_same_table(process, starts=2)


def test_a_preempted_job_saves_a_checkpoint_and_is_retried(pipeline_copy, assert_same_table):
    process = pipeline_copy.start_training()
    every_gpu = ["--partition=urgent", "--nodes=2", "--gres=gpu:4", "--output=/dev/null"]
    urgent = pipeline_copy.slurm.run_command("sbatch", "--parsable", *every_gpu, "--wrap=sleep 5").strip()
    assert_same_table(process, starts=2)
    assert "COMPLETED" in pipeline_copy.slurm.run_command("scontrol", "show", "job", urgent)
    # The checkpoint was saved after the current step, not at the end of the epoch.
    assert (
        pipeline_copy.events("start")[1]["samples_seen"]
        > pipeline_copy.events("validation")[0]["samples_seen"]
    )


def test_a_job_at_its_time_limit_saves_a_checkpoint_and_is_retried(pipeline_copy, assert_same_table):
    process = pipeline_copy.start_training()
    # Just above the two minutes between the warning signal and the limit. Slurm checks limits twice a minute,
    # and continues stopped processes before it signals them.
    job, _ = pipeline_copy.job()
    pipeline_copy.slurm.run_command(
        "scontrol", "update", f"JobId={job}", f"TimeLimit={pipeline_copy.slurm.elapsed_minutes(job) + 3}"
    )
    assert "SLURM status is: 'FAILED'" in assert_same_table(process, starts=2)
    # The checkpoint was saved after the current step, not at the end of the epoch.
    assert (
        pipeline_copy.events("start")[1]["samples_seen"]
        > pipeline_copy.events("validation")[0]["samples_seen"]
    )


def test_a_job_on_a_dead_node_resumes_on_another_node(pipeline_copy, assert_same_table):
    process = pipeline_copy.start_training()
    _, node = pipeline_copy.job()
    pipeline_copy.slurm.kill_node(node)
    pipeline_copy.slurm.wait_for_node(node, "down")
    pipeline_copy.slurm.start_node(node)
    assert_same_table(process, starts=2)
    pipeline_copy.slurm.wait_for_node(node, "idle")


def test_training_survives_a_restart_of_the_node_daemon(pipeline_copy, assert_same_table):
    process = pipeline_copy.start_training()
    _, node = pipeline_copy.job()
    pipeline_copy.slurm.kill_daemon(node)
    pipeline_copy.slurm.start_node(node)
    pipeline_copy.slurm.wait_for_node(node, "mixed", "allocated")
    pipeline_copy.signal(signal.SIGCONT)
    assert_same_table(process, starts=1)


def test_after_a_kill_snakemake_says_how_to_unlock_and_resumes(pipeline_copy, assert_same_table):
    pipeline_copy.start_training()
    pipeline_copy.stop()
    assert "--unlock" in pipeline_copy.run(pipeline_copy.table, status=1)
    pipeline_copy.run(pipeline_copy.table, "--unlock")
    # The job of the killed Snakemake still runs; a second one fails with a message.
    assert "in use by another process; wait for it or stop it" in pipeline_copy.run(
        pipeline_copy.table, "--retries", 0, status=1
    )
    pipeline_copy.slurm.run_command("scancel", pipeline_copy.job()[0])
    pipeline_copy.slurm.wait_for_no_job()
    assert_same_table(pipeline_copy.start(pipeline_copy.table), starts=2)
