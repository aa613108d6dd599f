"""The tables and figures of a config, and the files that they are made from."""

import pytest

from cloob.report.registry import figures, tables
from cloob.workflow.report_inputs import report_flags, report_input_files, report_names, unmet_requirement
from tests.helpers.configs import config_from
from tests.helpers.repository import ROOT

WORKFLOW = ROOT / "workflow"
EXISTING = {"title": "Mine", "train": {"shards": "data/a"}, "validation": {"shards": "data/b"}}


def inputs_of(kind, name, config=None):
    return report_input_files(config or config_from(), kind, name, WORKFLOW)


def test_all_makes_every_table_and_figure_except_those_on_request():
    config = config_from()
    on_request = {name for name, entry in tables().items() if entry.requires in ("released", "search")}
    assert set(report_names(config, "table")) == set(tables()) - on_request
    assert on_request == {"released", "released_linear_probe", "released_retrieval", "search"}
    assert report_names(config, "figure") == list(figures())


def test_without_probed_test_sets_there_is_no_linear_probe_table():
    config = config_from()
    for testset in config["testsets"].values():
        testset["probe_train_set"] = None
    assert set(tables()) - set(report_names(config, "table")) == {
        *("linear_probe", "released", "released_linear_probe", "released_retrieval", "search")
    }
    assert "testsets.NAME.probe_train_set" in unmet_requirement(config, tables()["released_linear_probe"])
    assert unmet_requirement(config, tables()["released"]) is None


def test_without_downloads_there_is_no_figure_of_download_outcomes():
    row = config_from()["runs"][0] | {"corpus": "mine"}
    config = config_from(corpora={"mine": EXISTING}, runs=[row])
    config["evaluate"]["retrieval_sets"] = {"mine": {"title": "Mine", "shards": "mine/validation"}}
    assert set(figures()) - set(report_names(config, "figure")) == {"outcomes"}
    assert inputs_of("table", "accounting", config) == [
        "results/shards/mine/train/outcomes.csv",
        "results/shards/mine/validation/outcomes.csv",
    ]


@pytest.mark.parametrize(("kind", "entries"), [("table", tables), ("figure", figures)])
def test_every_registered_entry_has_input_files(kind, entries):
    for name in entries():
        assert inputs_of(kind, name), name


def test_the_zeroshot_table_is_made_from_every_run_eval_epoch_and_test_set():
    files = inputs_of("table", "zeroshot")
    # 10 runs × 2 epochs on CC3M and 6 runs × 1 epoch on YFCC15M, on 10 test sets; the logs and the paper.
    assert len(files) == 26 * 10 + 16 + 1
    assert "results/evaluate/cc3m-cloob-RN50-cc3m-seed1/epoch_31/zeroshot/gtsrb.json" in files
    assert files[-1] == "config/paper_results.csv"


@pytest.mark.parametrize(("kind", "name"), [("table", "throughput"), ("figure", "training_curves")])
def test_tables_and_figures_of_logs_are_made_from_compact_logs(kind, name):
    files = inputs_of(kind, name)
    assert len(files) == 16 and all(path.endswith("-seed1/metrics.parquet") for path in files[10:])


def test_tables_show_every_retrieval_set_and_figures_the_first_one():
    config = config_from(
        evaluate={"retrieval_sets": {"coco": {"title": "COCO", "shards": "coco/shards.json"}}}
    )
    table, figure = (
        inputs_of(kind, name, config) for kind, name in (("table", "embedding_structure"), ("figure", "ajne"))
    )
    assert sum("coco" in path for path in table) == 26
    assert sum("coco" in path for path in figure) == 0
    assert sum("cc3m_validation" in path for path in figure) == 26


@pytest.mark.parametrize(
    ("figure", "epochs"),
    [
        ("spectra", {31, 128}),
        ("effective_eigenvalues", {1, 31, 128}),
        ("effective_eigenvalues_epochs", {1, 8, 16, 31, 64, 96, 128}),
    ],
)
def test_figures_of_embedding_structure_select_their_epochs(figure, epochs):
    prefix = "results/evaluate/cc3m-clip-RN50-cc3m-seed1/epoch_"
    files = [path for path in inputs_of("figure", figure) if path.startswith(prefix)]
    assert {int(path.removeprefix(prefix).partition("/")[0]) for path in files} == epochs


def test_the_predictions_are_those_of_the_first_cloob_run_at_its_last_epoch():
    files = inputs_of("figure", "predictions")
    folder = "results/evaluate/cc3m-cloob-RN50-cc3m-seed1/epoch_128/predictions"
    assert files == [f"{folder}/{testset}.json" for testset in config_from()["testsets"]]


def test_the_pipeline_figure_is_made_from_the_snakefile_and_its_rules():
    files = inputs_of("figure", "pipeline")
    assert files[0] == str(WORKFLOW / "Snakefile")
    assert set(files[1:]) == {str(path) for path in (WORKFLOW / "rules").glob("*.smk")}


def test_keyed_inputs_and_labels_are_passed_as_flags():
    config = config_from(title_suffix="a\nb", corpora={"cc3m": {"title": "CC <3M>"}})
    flags = report_flags(config, "table", "corpus", WORKFLOW)
    assert "--manifests=cc3m/train=results/shards/cc3m/train/shards.json" in flags
    assert "--outcomes=cc3m/train/urls=results/download/cc3m/train/urls_outcomes.csv" in flags
    assert "--corpus-title=cc3m=CC \\u003c3M>" in flags and "--title-suffix=a\\u000ab" in flags
    flags = report_flags(config, "table", "released", WORKFLOW)
    path = "results/evaluate/released/cloob_rn50_yfcc/zeroshot/gtsrb.json"
    assert f"--released=YFCC15M/RN50/CLOOB/28={path}" in flags
    assert "--allow-missing" not in flags


def test_released_models_are_shown_beside_the_runs_only_if_they_are_baselines():
    entries = [("figure", "zeroshot"), ("figure", "ajne"), ("table", "overlap")]
    for entry in entries:
        assert not [path for path in inputs_of(*entry) if "/released/" in path]
        flags = report_flags(config_from(), *entry, WORKFLOW)
        assert not [flag for flag in flags if flag.startswith("--baselines")]
    config = config_from(baselines=["cloob_rn50_yfcc", "openai_rn50"])
    folder = "results/evaluate/released"
    of_openai = f"{folder}/openai_rn50/zeroshot/gtsrb.json"
    of_authors = f"{folder}/cloob_rn50_yfcc/zeroshot/gtsrb.json"
    flags = report_flags(config, "figure", "zeroshot", WORKFLOW)
    assert len([path for path in inputs_of("figure", "zeroshot", config) if "/released/" in path]) == 20
    assert f"--baselines=YFCC15M/RN50/CLOOB/28={of_authors}" in flags
    assert f"--baselines=WIT/RN50/CLIP (OpenAI)/final={of_openai}" in flags
    # The training corpus of OpenAI's model is not one of the runs'.
    flags = [flag for flag in report_flags(config, "table", "overlap", WORKFLOW) if "/released/" in flag]
    assert len(flags) == 10
    assert f"--baselines=YFCC15M/RN50/CLOOB/28/yfcc15m={of_authors}" in flags
    path = f"{folder}/openai_rn50/embedding_structure/cc3m_validation.json"
    assert path in inputs_of("figure", "ajne", config)
    allow_missing = config | {"allow_missing": True}
    assert of_authors not in inputs_of("table", "overlap", allow_missing)
    assert of_authors in inputs_of("figure", "zeroshot", allow_missing)


def test_with_allow_missing_tables_do_not_wait_for_results():
    config = config_from(allow_missing=True)
    assert inputs_of("table", "zeroshot", config) == ["config/paper_results.csv"]
    flags = report_flags(config, "table", "zeroshot", WORKFLOW)
    assert "--allow-missing" in flags and sum(flag.startswith("--results=") for flag in flags) == 276
    # Row accounting is complete or not made at all, and figures have no gaps.
    assert inputs_of("table", "accounting", config) == inputs_of("table", "accounting")
    assert inputs_of("figure", "zeroshot", config) == inputs_of("figure", "zeroshot")
    assert "--allow-missing" not in report_flags(config, "figure", "zeroshot", WORKFLOW)
