"""`snakemake --profile slurm all` on a private Slurm cluster: two nodes, GPUs as counted resources."""

import os
from itertools import pairwise

import pytest
import yaml

from tests.helpers.on_slurm import EPOCHS, EVALUATED_EPOCHS, RUN

pytestmark = [pytest.mark.timeout(1500), pytest.mark.xdist_group("cluster")]


def test_the_pipeline_runs_from_scratch_to_tables_and_figures(pipeline):
    assert "has been submitted with SLURM jobid" in pipeline.output
    assert pipeline.table.exists()
    assert (pipeline.results / "figures" / "zeroshot.png").exists()


def test_two_processes_train_on_one_node(pipeline):
    log = (pipeline.results / "logs" / "train" / f"{RUN}.log").read_text()
    assert "process 0 of 2 on n" in log
    assert "process 1 of 2 on n" in log
    assert [start["processes"] for start in pipeline.events("start")] == [2]


def test_jobs_request_the_resources_of_the_profile(pipeline):
    training = pipeline.jobs_of("train")
    keys = ("tres-per-node", "NumNodes", "NumCPUs")
    assert [[job[key] for key in keys] for job in training] == [["gres:gpu:2", "1", "18"]]
    others = pipeline.jobs_of("fetch") + pipeline.jobs_of("pack")
    assert {job[key] for job in others for key in ("tres-per-node", "tres-per-job")} == {"N/A"}


def test_download_jobs_run_concurrently(pipeline):
    spans = sorted((job["StartTime"], job["EndTime"]) for job in pipeline.jobs_of("fetch"))
    assert any(second[0] < first[1] for first, second in pairwise(spans)), spans


def test_evaluations_of_a_run_share_one_job_with_one_gpu(pipeline):
    folders = (pipeline.results / "evaluate" / RUN).glob("epoch_*/zeroshot")
    assert sorted(folder.parts[-2] for folder in folders) == [f"epoch_{e}" for e in EVALUATED_EPOCHS]
    [job] = pipeline.jobs_of(f"evaluate_{RUN}")
    # Two epochs in sequence, each with two hours for zeroshot and half an hour for image_text.
    assert [job[key] for key in ("tres-per-job", "NumNodes", "TimeLimit")] == ["gres:gpu:1", "1", "5:00:00"]
    assert pipeline.jobs_of("zeroshot") == pipeline.jobs_of("image_text") == []


def test_tables_and_figures_are_local_rules(pipeline):
    assert list((pipeline.results / "tables").iterdir()) != []
    submitted = {job["Comment"] for job in pipeline.jobs_of("")}
    assert not [name for name in submitted if "table" in name or "figure" in name or "curves" in name]


def test_a_second_run_has_nothing_to_do(pipeline):
    assert "Nothing to be done" in pipeline.run("all")


@pytest.mark.slow
def test_training_on_one_gpu_gives_about_the_same_losses(pipeline, pipeline_copy):
    pipeline_copy.delete(f"train/{RUN}")
    content = yaml.safe_load(pipeline_copy.config.read_text())
    content["runs"] = [row | {"processes": 1} for row in content["runs"]]
    pipeline_copy.config.write_text(yaml.safe_dump(content))
    # docs/cluster.md, "For one GPU".
    unset = dict.fromkeys(("launcher", "mpi", "tasks", "gres", "tasks_per_gpu", "slurm_extra"))
    pipeline_copy.run(pipeline_copy.results / "train" / RUN / "final.pt", train=unset | {"gpu": 1}, threads=9)
    assert [start["processes"] for start in pipeline_copy.events("start")] == [1]
    losses = [step["loss"] for step in pipeline_copy.events("step")]
    assert losses == pytest.approx([step["loss"] for step in pipeline.events("step")], rel=1e-2)


def test_training_on_two_nodes_gives_the_same_losses(pipeline, pipeline_copy):
    pipeline_copy.delete(f"train/{RUN}")
    # As many threads per process as with two processes on a node: the order of summation depends on it.
    threads = max(1, min(9, os.cpu_count()) // 2)
    final = pipeline_copy.results / "train" / RUN / "final.pt"
    pipeline_copy.run(final, train={"nodes": 2, "gres": "gpu:2"}, threads=threads)
    log = (pipeline_copy.results / "logs" / "train" / f"{RUN}.log").read_text()
    assert "of 2 on n1" in log
    assert "of 2 on n2" in log
    losses = [step["loss"] for step in pipeline_copy.events("step")]
    assert losses == [step["loss"] for step in pipeline.events("step")]
    assert pipeline_copy.events("validation")[-1]["epoch"] == EPOCHS
