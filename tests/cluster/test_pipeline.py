"""`snakemake --profile slurm all` on a real Slurm: two nodes, GPUs as counted resources."""

import json
import shutil

import pytest
import torch

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1500), pytest.mark.xdist_group("cluster")]
RUN = "cc-infoloob_hopfield-RN_small-cc_small-seed1"


def losses(results):
    lines = map(json.loads, (results / "train" / RUN / "metrics.jsonl").read_text().splitlines())
    return [line["loss"] for line in lines if line["event"] == "step"]


def test_the_pipeline_runs_from_nothing_to_its_tables(pipeline):
    assert "has been submitted with SLURM jobid" in pipeline.output
    assert (pipeline.results / "tables" / "zeroshot.csv").exists()
    assert (pipeline.results / "figures" / "zeroshot.png").exists()
    log = (pipeline.results / "logs" / "train" / f"{RUN}.log").read_text()
    assert "process 0 of 2 on n" in log
    assert "process 1 of 2 on n" in log


def test_the_training_jobs_asked_for_gpus_and_nothing_else_did(pipeline):
    jobs = pipeline.slurm.ask("squeue", "--states=all", "-h", "-o", "%k|%b|%D|%C")
    asked = {line.split("|")[0].split("_wildcards")[0]: line.split("|")[1:] for line in jobs.splitlines()}
    training = [kind for name, kind in asked.items() if name.startswith("rule_train")]
    assert training == [["gres:gpu:4", "1", "36"]] * len(training) != []
    assert {kind[0] for name, kind in asked.items() if name.startswith(("rule_fetch", "rule_pack"))} == {
        "N/A"
    }


def test_a_second_time_nothing_is_to_be_done(pipeline):
    assert "Nothing to be done" in pipeline.run("all")


def test_on_two_nodes_it_is_the_same_run(pipeline):
    one_node = losses(pipeline.results)
    shutil.rmtree(pipeline.results / "train" / RUN)
    target = pipeline.results / "train" / RUN / "final.pt"
    pipeline.run(target, nodes=2, gres="gpu:2")
    log = (pipeline.results / "logs" / "train" / f"{RUN}.log").read_text()
    assert "of 2 on n1" in log
    assert "of 2 on n2" in log
    assert losses(pipeline.results) == one_node
    assert torch.load(target, weights_only=True)["epoch"] == 2
