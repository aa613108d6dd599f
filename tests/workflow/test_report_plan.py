"""Tables and figures in the plan: missing results, title suffixes, and the plan of the ablation."""

import re

from cloob.report.registry import tables
from tests.helpers.repository import ROOT
from tests.workflow.test_plan import job_counts


def test_a_table_with_missing_results_runs_no_other_job(snakemake, config_with, tmp_path):
    results = tmp_path / "results"
    config = config_with({"results": str(results), "allow_missing": True, "title_suffix": "half a cluster"})
    target = [results / "tables" / "zeroshot.csv", "--configfile", config]
    assert job_counts(snakemake("-n", *target)) == {"table": 1, "total": 1}
    made = snakemake("--cores", 1, "--nolock", *target)
    assert made.returncode == 0, made.stdout + made.stderr
    text = (results / "tables" / "zeroshot.md").read_text()
    assert "· half a cluster" in text.splitlines()[0]
    # All results of the paper are missing: 5 seeds, every test set, every epoch.
    runs = f"{results}/evaluate/cc3m-clip-RN50-cc3m-seed{{1,2,3,4,5}}/epoch_31/zeroshot/"
    assert f"`{runs}{{birdsnap,country211," in text
    assert "## YFCC15M, RN50x4, epoch 28" in text
    # Without allow_missing the table is built again, from all results.
    assert job_counts(snakemake("-n", *target, "--config", "allow_missing=False"))["zeroshot"] == 26


def test_without_title_suffix_titles_are_unchanged(snakemake, config_with, tmp_path):
    results = tmp_path / "results"
    config = config_with({"results": str(results), "allow_missing": True})
    targets = [results / "tables" / "zeroshot.csv", results / "figures" / "pipeline.png"]
    made = snakemake("--cores", 1, "--nolock", *targets, "--configfile", config)
    assert made.returncode == 0, made.stdout + made.stderr
    assert (results / "tables" / "zeroshot.md").read_text().startswith("# Zero-shot accuracy (%)\n")


def test_the_ablation_has_four_objectives_with_eight_seeds_on_one_corpus(snakemake):
    files = [ROOT / "config" / name for name in ("demo.yaml", "ablation.yaml")]
    plan = snakemake("-n", "all", "--configfile", *files)
    assert plan.returncode == 0, plan.stdout + plan.stderr
    jobs = job_counts(plan)
    assert jobs == jobs | {
        "toy_data": 1,
        "trial": 24,
        "select": 4,
        "train": 32,
        "zeroshot": 64,
        "linear_probe": 64,
        "image_text": 96,
        "table": sum(entry.requires != "released" for entry in tables().values()),
    }
    runs = set(re.findall(r"results/ablation/train/(\S+)/final\.pt", plan.stdout))
    assert runs == {
        f"cc3m-{objective}-RN_small-cc3m_small@toy-seed{seed}"
        for objective in ("clip", "infonce_hopfield", "infoloob", "cloob")
        for seed in range(1, 9)
    }
    # Neither the other corpus nor files of the demo.
    assert "download/yfcc15m" not in plan.stdout
    assert "results/demo" not in plan.stdout
