"""The plan that Snakemake prints: which jobs run for which targets, and errors that stop it."""

import re

import pytest
import yaml

from cloob.slurm.profile import SITE_ANCHORS
from tests.helpers.configs import config_from
from tests.helpers.repository import ROOT

CONFIG = config_from()


@pytest.fixture(scope="module")
def plan(snakemake):
    return snakemake("-n", "results/tables/zeroshot.csv")


@pytest.fixture(scope="module")
def plan_of_corpus_table(snakemake):
    return snakemake("-n", "-p", "results/tables/corpus.csv")


def job_counts(plan):
    return {
        name: int(count) for name, count in re.findall(r"^(\w+) +(\d+)$", plan.stdout, flags=re.MULTILINE)
    }


def test_the_default_plan_is_the_paper(plan):
    assert plan.returncode == 0, plan.stderr
    # CC3M: 5 seeds × {CLIP, CLOOB}, two epochs each; YFCC15M: 3 architectures × {CLIP, CLOOB}, one epoch.
    assert job_counts(plan) == job_counts(plan) | {"train": 16, "zeroshot": 26, "pack": 3}
    # CC3M in 8 parts and its validation split in one, YFCC15M in 16.
    assert job_counts(plan)["fetch"] == 8 + 1 + 16
    for seed in range(1, 6):
        for objective in ("clip", "cloob"):
            assert f"results/train/cc3m-{objective}-RN50-cc3m-seed{seed}/final.pt" in plan.stdout
    for architecture in ("RN50", "RN101", "RN50x4"):
        assert f"results/train/yfcc15m-cloob-{architecture}-yfcc15m-seed1/final.pt" in plan.stdout


def test_checkpoints_of_embedding_eval_epochs_are_kept(snakemake):
    target = "results/evaluate/cc3m-cloob-RN50-cc3m-seed1/epoch_8/embedding_structure/cc3m_validation.json"
    plan = snakemake("-n", "-p", target)
    assert plan.returncode == 0, plan.stderr
    assert job_counts(plan) == job_counts(plan) | {"train": 1, "image_text": 1, "pack": 2}
    flags = " ".join(f"--keep-epochs={epoch}" for epoch in (1, 8, 16, 31, 64, 96, 128))
    assert f" {flags} " in plan.stdout
    assert "checkpoints/epoch_0008.pt" in plan.stdout


def test_the_plan_lists_missing_user_inputs_in_one_message(plan):
    message = (plan.stdout + plan.stderr).split("These inputs are missing", 1)[1]
    corpora = CONFIG["corpora"]
    expected = {
        "corpora.cc3m.train.list": corpora["cc3m"]["train"]["list"],
        "corpora.yfcc15m.train.metadata": corpora["yfcc15m"]["train"]["metadata"],
        "testsets.imagenet.folder": CONFIG["testsets"]["imagenet"]["folder"],
    }
    for key, path in expected.items():
        assert f"{path}  (key {key})" in message
    # All other test sets are downloaded.
    assert message.count("testsets.") == 1
    assert job_counts(plan)["prepare_testset"] == len(CONFIG["testsets"]) - 1 == 9


def test_official_files_of_a_test_set_are_a_user_input(snakemake, config_with):
    official = config_with({"testsets": {"ucf101": {"source": "official", "local_files": "data/ucf101"}}})
    plan = snakemake("-n", "-p", "results/evaluate/testsets/ucf101", "--configfile", official)
    assert plan.returncode == 0, plan.stderr
    assert "data/ucf101  (key testsets.ucf101.local_files)" in plan.stdout + plan.stderr
    assert "--local-files=data/ucf101 --source=official" in plan.stdout


def test_two_keys_may_name_the_same_missing_path(snakemake, config_with):
    both = {"source": "official", "local_files": "data/official"}
    plan = snakemake(
        *("-n", "results/evaluate/testsets/ucf101"),
        *("--configfile", config_with({"testsets": {"ucf101": both, "gtsrb": both}})),
    )
    assert plan.returncode == 0, plan.stdout + plan.stderr
    keys = "testsets.gtsrb.local_files, testsets.ucf101.local_files"
    assert f"data/official  (key {keys})" in plan.stdout + plan.stderr


def test_existing_shards_are_packed_instead_of_a_download(snakemake, config_with):
    existing = config_with({"corpora": {"cc3m": {"train": {"shards": ["data/cc3m/a", "data/cc3m/b"]}}}})
    plan = snakemake("-n", "-p", "results/tables/corpus.csv", "--configfile", existing)
    assert plan.returncode == 0, plan.stderr
    text = plan.stdout + plan.stderr
    assert "data/cc3m/a  (key corpora.cc3m.train.shards.0)" in text
    assert "(key corpora.cc3m.train.list)" not in text and "(key corpora.cc3m.validation.list)" in text
    # The lists of CC3M's validation split and of YFCC15M are still downloaded.
    corpora = CONFIG["corpora"]
    assert job_counts(plan)["fetch"] == (
        corpora["cc3m"]["validation"]["num_jobs"] + corpora["yfcc15m"]["train"]["num_jobs"]
    )
    assert "download/cc3m/train" not in text
    # The rules of the download for size and shape are applied when existing shards are packed.
    rules = "--image-size=512 --min-size=16 --max-aspect-ratio=3"
    packs = re.findall(r"cloob shards pack .*", plan.stdout)
    of_existing = [pack for pack in packs if "--webdataset=data/cc3m/a --webdataset=data/cc3m/b" in pack]
    assert len(packs) == 3 and [pack for pack in packs if rules in pack] == of_existing
    assert len(of_existing) == 1
    assert "--validation=results/shards/cc3m/validation/shards.json" in of_existing[0]


def test_every_training_corpus_is_packed_without_the_images_of_its_validation_sets(plan_of_corpus_table):
    packs = re.findall(r"cloob shards pack .*", plan_of_corpus_table.stdout)
    validation = "--validation=results/shards/cc3m/validation/shards.json"
    assert {re.search(r"--out=(\S+)", pack)[1]: validation in pack for pack in packs} == {
        "results/shards/cc3m/train": True,
        "results/shards/cc3m/validation": False,
        "results/shards/yfcc15m/train": True,
    }


def test_a_corpus_of_any_name_is_downloaded_trained_and_validated_on(snakemake, config_with):
    changes = {
        "corpora": {
            "my.corpus": {
                "title": "Mine",
                "requests_per_second": 20,
                "train": {
                    "reader": "url_list",
                    "list": "data/mine.tsv",
                    "header": False,
                    "url_column": 1,
                    "caption_column": 0,
                    "num_jobs": 4,
                },
                "validation": {"shards": "data/mine_val"},
            }
        },
        "runs": [CONFIG["runs"][0] | {"corpus": "my.corpus", "seeds": [7]}],
        "evaluate": {"retrieval_sets": {"mine": {"title": "Mine", "shards": "my.corpus/validation"}}},
    }
    plan = snakemake("-n", "-p", "all", "--configfile", config_with(changes))
    assert plan.returncode == 0, plan.stdout + plan.stderr
    flags = {"--reader=url_list", "--list=data/mine.tsv", "--header=False"}
    assert any(flags <= set(line.split()) for line in re.findall(r"cloob download urls .*", plan.stdout))
    assert plan.stdout.count("--requests-per-second=5.0") == 4
    train = re.findall(r"-m cloob train .*", plan.stdout)
    assert len(train) == 2
    for command in train:
        assert "--shards=results/shards/my.corpus/train/shards.json" in command
        assert "--validation=results/shards/my.corpus/validation/shards.json" in command
    assert "--pairs=mine=results/shards/my.corpus/validation/shards.json" in plan.stdout
    # The default retrieval set, CC3M's validation split, is still evaluated; nothing else of CC3M is used.
    assert "shards/cc3m/validation" in plan.stdout and "shards/cc3m/train" not in plan.stdout


def test_sets_in_the_webdataset_layout_are_downloaded(snakemake, config_with):
    url = "https://example.org/datasets/o/wds_coco/tree/main"
    changes = {
        "evaluate": {"retrieval_sets": {"coco": {"title": "COCO", "webdataset": url, "max_bytes": 9}}},
        "testsets": {"stanford_cars": {"source": "webdataset", "probe_train_set": "stanford_cars"}},
    }
    run = "results/evaluate/cc3m-clip-RN50-cc3m-seed1/epoch_31"
    targets = [f"{run}/retrieval/coco.json", f"{run}/linear_probe/stanford_cars.json"]
    plan = snakemake("-n", "-p", *targets, "--configfile", config_with(changes))
    assert plan.returncode == 0, plan.stdout + plan.stderr
    assert f"cloob evaluate download-retrieval-set --url={url} --max-bytes=9 --split=test" in plan.stdout
    assert "--pairs=coco=results/evaluate/retrieval_sets/coco" in plan.stdout
    prepared = re.search(r"cloob evaluate prepare-testset .*stanford_cars.*", plan.stdout)[0]
    assert "--source=webdataset" in prepared
    assert "--splits=test --splits=train --prompts=spec" in prepared


def test_every_training_corpus_is_compared_with_every_test_set(snakemake):
    plan = snakemake("-n", "-p", "results/tables/overlap.csv")
    assert plan.returncode == 0, plan.stderr
    assert job_counts(plan) == job_counts(plan) | {"overlap": 2, "pack": 3, "table": 1}
    assert job_counts(plan)["zeroshot"] > 0  # accuracies with and without the overlapping images
    for corpus in ("cc3m", "yfcc15m"):
        for testset in CONFIG["testsets"]:
            assert f"results/evaluate/overlap/{corpus}/{testset}.json" in plan.stdout
    distance = f"--near-duplicate-distance={CONFIG['shards']['near_duplicate_distance']}"
    for command in ("cloob evaluate overlap", "cloob shards pack"):
        lines = re.findall(rf"{command} .*", plan.stdout)
        assert lines and all(distance in line for line in lines)


def test_a_test_set_that_is_null_is_left_out(snakemake, config_with):
    without = config_with({"testsets": {"imagenet": None}})
    plan = snakemake("-n", "results/tables/zeroshot.csv", "--configfile", without)
    assert plan.returncode == 0, plan.stderr
    assert "zeroshot/birdsnap.json" in plan.stdout
    assert "zeroshot/imagenet.json" not in plan.stdout


def test_the_linear_probe_is_for_test_sets_with_training_images(snakemake, config_with):
    folder = "results/evaluate/cc3m-clip-RN50-cc3m-seed1/epoch_31/linear_probe"
    plan = snakemake("-n", "-p", f"{folder}/imagenetv2.json")
    assert plan.returncode == 0, plan.stderr
    for testset in ("country211", "flowers102", "gtsrb", "imagenet", "imagenetv2", "imagenetv2_top_images"):
        assert f"{folder}/{testset}.json" in plan.stdout
    assert "--probe-train-set=imagenetv2=imagenet" in plan.stdout
    assert "birdsnap" not in plan.stdout  # no training images
    without = config_with({"testsets": {"imagenet": None}})
    plan = snakemake("-n", f"{folder}/gtsrb.json", "--configfile", without)
    assert plan.returncode == 0, plan.stderr
    assert "imagenetv2" not in plan.stdout  # its probe is trained on ImageNet


NO_PROBE = {name: testset | {"probe_train_set": None} for name, testset in CONFIG["testsets"].items()}


def test_without_training_images_all_has_no_linear_probe(snakemake, config_with):
    plan = snakemake("-n", "all", "--configfile", config_with({"testsets": NO_PROBE}))
    assert plan.returncode == 0, plan.stderr
    assert "linear_probe" not in plan.stdout
    for table in ("zeroshot", "claims", "overlap"):
        assert f"results/tables/{table}.csv" in plan.stdout and f"results/tables/{table}.html" in plan.stdout


@pytest.mark.parametrize(
    ("table", "changes", "expected"),
    [
        (
            "linear_probe",
            {"testsets": NO_PROBE},
            "No test set has a linear probe: .*testsets.NAME.probe_train_set",
        ),
        (
            "released_linear_probe",
            {"testsets": NO_PROBE},
            "No test set has a linear probe: .*testsets.NAME.probe_train_set",
        ),
        (
            "released",
            {"released_checkpoints": dict.fromkeys(CONFIG["released_checkpoints"])},
            "No released checkpoint .*released_checkpoints.NAME.url or .open_clip",
        ),
    ],
)
def test_a_table_without_results_is_an_error_that_names_the_key(
    snakemake, config_with, table, changes, expected
):
    run = snakemake("-n", f"results/tables/{table}.csv", "--configfile", config_with(changes))
    assert run.returncode != 0
    assert len(re.findall(rf"WorkflowError:\s+{expected}", run.stdout + run.stderr)) == 1


def test_a_real_run_stops_before_its_first_job_if_user_inputs_are_missing(snakemake, config_with, tmp_path):
    elsewhere = config_with({"results": f"{tmp_path}/results"})
    run = snakemake("all", "--cores", 1, "--nolock", "--configfile", elsewhere)
    assert run.returncode != 0
    assert "(key corpora.cc3m.train.list)" in run.stdout + run.stderr
    assert not list(tmp_path.glob("results/**/*.parquet"))
    assert "Finished jobid" not in run.stdout + run.stderr


def test_only_missing_inputs_that_a_job_needs_stop_a_run(snakemake, config_with, tmp_path):
    mine = {
        "title": "Mine",
        "requests_per_second": 1,
        "train": {"reader": "url_list", "list": "data/mine.tsv", "num_jobs": 1},
    }
    row = CONFIG["runs"][0] | {"corpus": "mine", "validation": "cc3m"}
    changed = config_with({"results": f"{tmp_path}/results", "corpora": {"mine": mine}, "runs": [row]})
    target = f"{tmp_path}/results/download/mine/train/urls.parquet"
    run = snakemake(target, "--cores", 1, "--nolock", "--configfile", changed)
    announced, stopped = (run.stdout + run.stderr).split("These inputs are missing")[1:]
    assert run.returncode != 0
    assert "corpora.mine.train.list" in announced and "corpora.yfcc15m" not in announced
    assert "corpora.mine.train.list" in stopped and "corpora.cc3m" not in stopped


def test_all_problems_of_a_config_are_printed_without_a_traceback(snakemake, config_with):
    changes = {"download": {"timeout": "soon"}, "results": "a{b}"}
    run = snakemake("-n", "--configfile", config_with(changes), "--config", "title_suffix=7")
    assert run.returncode != 0
    text = run.stdout + run.stderr
    assert "Traceback" not in text
    lines = [line[4:].partition(":")[0] for line in text.splitlines() if line.startswith("  - ")]
    assert lines == ["download.timeout", "results", "title_suffix"]


def test_a_misspelled_target_is_an_error(snakemake):
    run = snakemake("-n", "results/tables/zeroshto.csv")
    assert run.returncode != 0
    assert "No rule to produce results/tables/zeroshto.csv" in run.stdout + run.stderr


def test_a_misspelled_profile_is_an_error_instead_of_a_local_run(snakemake):
    run = snakemake("--profile", "slrum", "-n", "all")
    assert run.returncode != 0
    assert "slrum" in run.stdout + run.stderr


def test_the_cluster_profile_is_found_from_the_root_and_has_an_entry_for_every_rule(snakemake):
    rules = snakemake("--list-rules").stdout.split()
    profile = yaml.safe_load((ROOT / "slurm" / "config.yaml").read_text())
    assert profile["executor"] == "slurm"
    assert profile["software-deployment-method"] == "conda"
    assert set(profile["set-resources"]) - set(SITE_ANCHORS) == set(rules) - {"all", "user_inputs"}
    assert set(profile["set-threads"]) <= set(rules) and set(profile["groups"]) <= set(rules)
    # One process per GPU, with the CPUs of its data-loader workers.
    train, per_process = profile["set-resources"]["train"], 1 + CONFIG["train"]["workers"]
    tasks = f"max(2, threads // {per_process})"  # the plugin starts no srun for a single task
    assert train["tasks"] == tasks
    assert train["cpus_per_task"] == per_process and "train" not in profile["set-threads"]
    assert profile["set-threads"]["fetch"] == CONFIG["download"]["processes"]
    of_shards = {profile["set-threads"][rule] for rule in ("pack", "verify", "overlap")}
    assert of_shards == {CONFIG["shards"]["processes"]}
    for rule in ("zeroshot", "image_text", "linear_probe", "prepare_testset"):
        assert profile["set-threads"][rule] == 1 + CONFIG["evaluate"]["workers"]
    # All evaluations of a run fit in one job.
    epochs = [
        len(set(recipe["eval_epochs"])) + len({*recipe["eval_epochs"], *recipe["embedding_eval_epochs"]})
        for recipe in CONFIG["recipes"].values()
    ]
    assert profile["group-components"] == {"evaluate_{run}": max(epochs)}
    # The jobs of a group run one after another, so its runtime is the sum.
    assert {profile["set-resources"][rule].get("one_by_one") for rule in profile["groups"]} == {1}
    plan = snakemake("--profile", "slurm", "--software-deployment-method", "env-modules", "-n", "all")
    assert plan.returncode == 0, plan.stderr
