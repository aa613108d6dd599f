"""Tables by the workflow: of what is there if one asks for that; and the plan of the ablation."""

import re

import yaml

from tests.workflow.test_plan import ROOT, counts


def test_a_partial_table_runs_nothing_but_itself(snakemake, config_with, tmp_path):
    results = tmp_path / "results"
    config = config_with({"results": str(results), "partial": True, "label": "half a cluster"})
    target = [results / "tables" / "zeroshot.csv", "--configfile", config]
    assert counts(snakemake("-n", *target)) == {"table": 1, "total": 1}
    made = snakemake("--cores", 1, "--nolock", *target)
    assert made.returncode == 0, made.stdout + made.stderr
    text = (results / "tables" / "zeroshot.md").read_text()
    assert "· half a cluster" in text.splitlines()[0]
    # The whole of the paper is missing: 5 seeds, each set, each epoch.
    runs = f"{results}/evaluate/cc3m-clip-RN50-cc3m-seed{{1,2,3,4,5}}/epoch_31/zeroshot/"
    assert f"CLIP: 5 of 5 seeds not there; make `{runs}{{birdsnap,country211," in text
    assert "## YFCC, RN50x4, epoch 28" in text
    # Asked for the whole table, it is made anew, with all that it needs.
    assert counts(snakemake("-n", *target, "--config", "partial=False"))["zeroshot"] == 26


def test_the_papers_tables_and_figures_carry_no_mark(snakemake, config_with, tmp_path):
    results = tmp_path / "results"
    config = config_with({"results": str(results), "partial": True})
    targets = [results / "tables" / "zeroshot.csv", results / "figures" / "pipeline.png"]
    made = snakemake("--cores", 1, "--nolock", *targets, "--configfile", config)
    assert made.returncode == 0, made.stdout + made.stderr
    assert (results / "tables" / "zeroshot.md").read_text().startswith("# Zero-shot accuracy (%)\n")
    # An empty label is one all the same, wherever it is given.
    rules = (ROOT / "workflow" / "rules" / "report.smk").read_text()
    assert rules.count("--title-suffix={params.title_suffix:q}") == rules.count("--title-suffix") == 7


def test_the_ablation_is_four_objectives_of_five_seeds_on_one_corpus(snakemake):
    files = [ROOT / "config" / name for name in ("demo.yaml", "ablation.yaml")]
    plan = snakemake("-n", "all", "--configfile", *files)
    assert plan.returncode == 0, plan.stdout + plan.stderr
    jobs = counts(plan)
    assert jobs == jobs | {
        "world": 1,
        "train": 20,
        "zeroshot": 20,
        "linear_probe": 20,
        "image-text": 40,
        "table": 8,
    }
    trained = set(re.findall(r"results/ablation/train/(\S+)/final\.pt", plan.stdout))
    assert trained == {
        f"cc3m-{objective}-RN_small-cc3m_small-seed{seed}"
        for objective in ("clip", "infonce_hopfield", "infoloob", "cloob")
        for seed in range(1, 6)
    }
    # Neither the other corpus nor anything of the demo's folder.
    assert "download/yfcc15m" not in plan.stdout
    assert "results/demo" not in plan.stdout
    # The server that its links point to is the one that the demo's config lets through.
    demo, ablation = (yaml.safe_load(path.read_text()) for path in files)
    assert demo["download"]["allowed_addresses"] == [f"127.0.0.1:{ablation['toy_data']['port']}"]
