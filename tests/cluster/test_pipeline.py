"""`snakemake --profile slurm all` on a real Slurm: two nodes, GPUs as counted resources."""

from itertools import pairwise

import pytest
from on_slurm import EPOCHS, RUN

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1500), pytest.mark.xdist_group("cluster")]


def jobs_of(pipeline, kind):
    """What the rule's, or the group's, jobs asked for: (GPUs, nodes, CPUs), and when they ran."""
    jobs = pipeline.slurm.ask("squeue", "--states=all", "-h", "-o", "%k|%b|%D|%C|%S|%e")
    return [line.split("|")[1:] for line in jobs.splitlines() if line.startswith(kind)]


def test_the_pipeline_runs_from_nothing_to_its_tables(pipeline):
    assert "has been submitted with SLURM jobid" in pipeline.output
    assert pipeline.table.exists()
    assert (pipeline.results / "figures" / "zeroshot.png").exists()


def test_two_processes_train_on_one_node_and_say_where(pipeline):
    log = (pipeline.results / "logs" / "train" / f"{RUN}.log").read_text()
    assert "process 0 of 2 on n" in log
    assert "process 1 of 2 on n" in log
    assert [start["processes"] for start in pipeline.events("start")] == [2]


def test_the_jobs_asked_for_what_the_profile_says(pipeline):
    assert {tuple(job[:3]) for job in jobs_of(pipeline, "rule_train")} == {("gres:gpu:4", "1", "36")}
    assert {job[0] for job in jobs_of(pipeline, "rule_fetch") + jobs_of(pipeline, "rule_pack")} == {"N/A"}


def test_downloads_ran_side_by_side(pipeline):
    spans = sorted(job[3:] for job in jobs_of(pipeline, "rule_fetch"))
    assert any(later[0] < earlier[1] for earlier, later in pairwise(spans)), spans


def test_the_epochs_of_a_run_are_evaluated_in_one_job(pipeline):
    assert len(list((pipeline.results / "evaluate" / RUN).iterdir())) == 2
    jobs = jobs_of(pipeline, "group_evaluate_")
    assert [(job[0], job[1]) for job in jobs] == [("gres:gpu:1", "1")] * 2  # one of each run, one GPU
    assert jobs_of(pipeline, "rule_zeroshot") == []


def test_tables_and_figures_are_made_where_snakemake_runs(pipeline):
    asked = pipeline.slurm.ask("squeue", "--states=all", "-h", "-o", "%k")
    assert "table" not in asked
    assert "figure" not in asked


def test_a_second_time_nothing_is_to_be_done(pipeline):
    assert "Nothing to be done" in pipeline.run("all")


def test_on_two_nodes_it_is_the_same_run(pipeline, again):
    again.forget(f"train/{RUN}")
    again.run(again.results / "train" / RUN / "final.pt", nodes=2, gres="gpu:2")
    log = (again.results / "logs" / "train" / f"{RUN}.log").read_text()
    assert "of 2 on n1" in log
    assert "of 2 on n2" in log
    losses = [step["loss"] for step in again.events("step")]
    assert losses == [step["loss"] for step in pipeline.events("step")]
    assert again.events("validation")[-1]["epoch"] == EPOCHS
