"""`snakemake --profile slurm all` on a real Slurm: two nodes, GPUs as counted resources."""

import os
from itertools import pairwise

import pytest
import yaml

from tests.helpers.on_slurm import EPOCHS, ROOT, RUN

pytestmark = [pytest.mark.timeout(1500), pytest.mark.xdist_group("cluster")]


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
    training = pipeline.jobs_of("train")
    asked = ("tres-per-node", "NumNodes", "NumCPUs")
    assert [[job[key] for key in asked] for job in training] == [["gres:gpu:4", "1", "36"]] * 2
    others = pipeline.jobs_of("fetch") + pipeline.jobs_of("pack")
    assert {job[key] for job in others for key in ("tres-per-node", "tres-per-job")} == {"N/A"}


def test_downloads_ran_side_by_side(pipeline):
    spans = sorted((job["StartTime"], job["EndTime"]) for job in pipeline.jobs_of("fetch"))
    assert any(later[0] < earlier[1] for earlier, later in pairwise(spans)), spans


def test_the_evaluations_of_a_run_are_one_job_with_one_gpu(pipeline):
    [epoch_1, _] = sorted((pipeline.results / "evaluate").glob("yfcc15m-*/epoch_*/zeroshot"))
    [job] = pipeline.jobs_of(f"evaluate_{epoch_1.parts[-3]}")
    # Two epochs, of each two hours for zeroshot and half an hour for captioned, one after the other.
    assert [job[key] for key in ("tres-per-job", "NumNodes", "TimeLimit")] == ["gres:gpu:1", "1", "5:00:00"]
    assert pipeline.jobs_of("zeroshot") == pipeline.jobs_of("image-text") == []


def test_tables_and_figures_are_made_where_snakemake_runs(pipeline):
    assert list((pipeline.results / "tables").iterdir()) != []
    sent = {job["Comment"] for job in pipeline.jobs_of("")}
    assert not [name for name in sent if "table" in name or "figure" in name or "curves" in name]


def test_a_second_time_nothing_is_to_be_done(pipeline):
    assert "Nothing to be done" in pipeline.run("all")


def test_its_report_holds_every_table_and_figure(pipeline):
    report = pipeline.results / "report.html"
    style = ROOT / "workflow" / "report" / "style.css"
    pipeline.run("--report", report, "--report-stylesheet", style)
    page = report.read_text()
    made = [*(pipeline.results / "tables").glob("*.html"), *(pipeline.results / "figures").glob("*.png")]
    assert len(made) > 20
    assert not [path.name for path in made if path.name not in page]


@pytest.mark.slow
def test_on_one_gpu_it_is_about_the_same_run(pipeline, again):
    again.forget(f"train/{RUN}")
    content = yaml.safe_load(again.config.read_text())
    content["train"]["processes"] = 1
    again.config.write_text(yaml.safe_dump(content))
    # docs/cluster.md, "For one GPU".
    left_out = dict.fromkeys(("launcher", "mpi", "tasks", "gres", "tasks_per_gpu", "slurm_extra"))
    again.run(again.results / "train" / RUN / "final.pt", train=left_out | {"gpu": 1}, threads=9)
    assert [start["processes"] for start in again.events("start")] == [1]
    losses = [step["loss"] for step in again.events("step")]
    assert losses == pytest.approx([step["loss"] for step in pipeline.events("step")], rel=1e-2)


def test_on_two_nodes_it_is_the_same_run(pipeline, again):
    again.forget(f"train/{RUN}")
    # Each process with as many threads as where two share a node's: sums in another order are others.
    threads = max(1, min(9, os.cpu_count()) // 2)
    final = again.results / "train" / RUN / "final.pt"
    again.run(final, train={"nodes": 2, "gres": "gpu:2"}, threads=threads)
    log = (again.results / "logs" / "train" / f"{RUN}.log").read_text()
    assert "of 2 on n1" in log
    assert "of 2 on n2" in log
    losses = [step["loss"] for step in again.events("step")]
    assert losses == [step["loss"] for step in pipeline.events("step")]
    assert again.events("validation")[-1]["epoch"] == EPOCHS
