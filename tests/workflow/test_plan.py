"""What a user meets before any job runs: the paper's plan, and errors that name the key and the remedy."""

import re

import pytest
import yaml

from cloob.slurm.profile import SITE
from tests.helpers.repository import ROOT

CONFIG = yaml.safe_load((ROOT / "config" / "config.yaml").read_text())


@pytest.fixture(scope="module")
def plan(snakemake):
    return snakemake("-n", "results/tables/zeroshot.csv")


def counts(plan):
    return {
        name: int(count) for name, count in re.findall(r"^(\w+) +(\d+)$", plan.stdout, flags=re.MULTILINE)
    }


def test_the_default_plan_is_the_true_paper(plan):
    assert plan.returncode == 0, plan.stderr
    # Conceptual Captions: 5 seeds × {CLIP, CLOOB}, two epochs each; YFCC: 3 encoders × {CLIP, CLOOB}, one.
    assert counts(plan) == counts(plan) | {"train": 16, "zeroshot": 26, "pack": 3}
    # Conceptual Captions in 8 parts and its validation in one, YFCC in 16.
    assert counts(plan)["fetch"] == 8 + 1 + 16
    for seed in range(1, 6):
        for objective in ("clip", "cloob"):
            assert f"results/train/cc3m-{objective}-RN50-cc3m-seed{seed}/final.pt" in plan.stdout
    for encoder in ("RN50", "RN101", "RN50x4"):
        assert f"results/train/yfcc15m-cloob-{encoder}-yfcc15m-seed1/final.pt" in plan.stdout


def test_epochs_whose_embeddings_are_looked_at_are_kept_too(snakemake):
    structure = "results/evaluate/cc3m-cloob-RN50-cc3m-seed1/epoch_8/embedding_structure/cc3m_validation.json"
    plan = snakemake("-n", "-p", structure)
    assert plan.returncode == 0, plan.stderr
    assert counts(plan) == counts(plan) | {"train": 1, "image-text": 1, "pack": 2}
    kept = " ".join(f"--keep-epochs={epoch}" for epoch in (1, 8, 16, 31, 64, 96, 128))
    assert f" {kept} " in plan.stdout
    assert "checkpoints/epoch_0008.pt" in plan.stdout


def test_the_plan_says_in_one_message_what_only_the_user_can_supply(plan):
    message = (plan.stdout + plan.stderr).split("These are yours to supply", 1)[1]
    wanted = {
        "corpora.cc3m.train": CONFIG["corpora"]["cc3m"]["train"],
        "corpora.yfcc15m.metadata": CONFIG["corpora"]["yfcc15m"]["metadata"],
        "testsets.imagenet.folder": CONFIG["testsets"]["imagenet"]["folder"],
    }
    for key, path in wanted.items():
        assert f"{path}  (key {key})" in message
    # Every other set is fetched: the eight of the paper, ImageNetV2 in its three variants.
    assert message.count("testsets.") == 1
    assert counts(plan)["testset"] == len(CONFIG["testsets"]) - 1 == 9


def test_official_files_are_the_users_to_supply(snakemake, config_with):
    there = config_with({"testsets": {"ucf101": {"source": "official", "original": "data/ucf101"}}})
    plan = snakemake("-n", "-p", "results/evaluate/testsets/ucf101", "--configfile", there)
    assert plan.returncode == 0, plan.stderr
    assert "data/ucf101  (key testsets.ucf101.original)" in plan.stdout + plan.stderr
    assert "--source=official --local-files=data/ucf101" in plan.stdout


def test_somebodys_shards_are_packed_instead_of_a_download(snakemake, config_with):
    frozen = config_with({"corpora": {"cc3m": {"ready_made": {"train": "data/cc3m/frozen"}}}})
    plan = snakemake("-n", "-p", "results/tables/corpus.csv", "--configfile", frozen)
    assert plan.returncode == 0, plan.stderr
    said = plan.stdout + plan.stderr
    assert "data/cc3m/frozen  (key corpora.cc3m.ready_made.train)" in said
    assert "(key corpora.cc3m.train)" not in said and "(key corpora.cc3m.validation)" in said
    assert "--webdataset=data/cc3m/frozen --validation=results/shards/cc3m/validation/shards.json" in said
    # The lists of CC's validation split and of YFCC are still fetched.
    parts = CONFIG["download"]["parts"]
    assert counts(plan)["fetch"] == parts["cc3m"]["validation"] + parts["yfcc15m"]["train"]
    assert (
        "download/cc3m/train" not in said
        and "cc3m/train/shards=results/shards/cc3m/train/outcomes.csv" in said
    )


def test_existing_shards_are_packed_by_the_downloads_rules_of_size_and_shape(snakemake, config_with):
    frozen = config_with({"corpora": {"cc3m": {"ready_made": {"train": "data/cc3m/frozen"}}}})
    plan = snakemake("-n", "-p", "results/tables/corpus.csv", "--configfile", frozen)
    rules = ("--image-size=512", "--min-size=16", "--max-aspect-ratio=3")
    packs = re.findall(r"cloob shards pack .*", plan.stdout)
    assert [all(rule in pack for rule in rules) for pack in packs] == [
        "--webdataset" in pack for pack in packs
    ]
    assert sum("--webdataset" in pack for pack in packs) == 1


def test_every_training_corpus_is_packed_without_the_images_of_validation(snakemake):
    packs = re.findall(r"cloob shards pack .*", snakemake("-n", "-p", "results/tables/corpus.csv").stdout)
    without = "--validation=results/shards/cc3m/validation/shards.json"
    assert {re.search(r"--out=(\S+)", pack)[1]: without in pack for pack in packs} == {
        "results/shards/cc3m/train": True,
        "results/shards/cc3m/validation": False,
        "results/shards/yfcc15m/train": True,
    }


def test_every_corpus_of_the_grid_is_compared_with_every_test_set(snakemake):
    plan = snakemake("-n", "-p", "results/tables/overlap.csv")
    assert plan.returncode == 0, plan.stderr
    assert counts(plan) == counts(plan) | {"overlap": 2, "pack": 3, "overlap_table": 1}
    assert "train" not in counts(plan)  # it needs no checkpoint
    for corpus in ("cc3m", "yfcc15m"):
        for testset in CONFIG["testsets"]:
            assert f"results/evaluate/overlap/{corpus}/{testset}.json" in plan.stdout
    distance = f"--near-duplicate-distance={CONFIG['shards']['near_duplicate_distance']}"
    for command in ("cloob evaluate overlap", "cloob shards pack"):
        lines = re.findall(rf"{command} .*", plan.stdout)
        assert lines and all(distance in line for line in lines)


def test_the_table_of_the_overlap_is_part_of_all(snakemake):
    plan = snakemake("-n", "all")
    assert plan.returncode == 0, plan.stderr
    assert "results/tables/overlap.csv" in plan.stdout and "results/tables/overlap.html" in plan.stdout


def test_a_set_that_is_null_is_left_out(snakemake, config_with):
    without = config_with({"testsets": {"imagenet": None}})
    plan = snakemake("-n", "results/tables/zeroshot.csv", "--configfile", without)
    assert plan.returncode == 0, plan.stderr
    assert "zeroshot/birdsnap.json" in plan.stdout
    assert "zeroshot/imagenet.json" not in plan.stdout


def test_the_linear_probe_is_for_sets_with_training_images(snakemake, config_with):
    name = "results/evaluate/cc3m-clip-RN50-cc3m-seed1/epoch_31/linear_probe"
    plan = snakemake("-n", "-p", f"{name}/imagenetv2.json")
    assert plan.returncode == 0, plan.stderr
    for testset in ("country211", "flowers102", "gtsrb", "imagenet", "imagenetv2", "imagenetv2_top_images"):
        assert f"{name}/{testset}.json" in plan.stdout
    assert "--probe-train-set=imagenetv2=imagenet" in plan.stdout
    assert "birdsnap" not in plan.stdout  # no training images
    without = config_with({"testsets": {"imagenet": None}})
    plan = snakemake("-n", f"{name}/gtsrb.json", "--configfile", without)
    assert plan.returncode == 0, plan.stderr
    assert "imagenetv2" not in plan.stdout  # trained on ImageNet


UNPROBED = {name: one | {"probe_train_set": None} for name, one in CONFIG["testsets"].items()}


def test_where_no_set_has_training_images_all_is_without_the_linear_probe(snakemake, config_with):
    plan = snakemake("-n", "all", "--configfile", config_with({"testsets": UNPROBED}))
    assert plan.returncode == 0, plan.stderr
    assert "linear_probe" not in plan.stdout
    assert "results/tables/zeroshot.html" in plan.stdout and "results/tables/claims.html" in plan.stdout


@pytest.mark.parametrize(
    ("table", "changed", "said"),
    [
        ("linear_probe", {"testsets": UNPROBED}, "No test set is probed: .*testsets.NAME.probe_train_set"),
        (
            "released_linear_probe",
            {"testsets": UNPROBED},
            "No test set is probed: .*testsets.NAME.probe_train_set",
        ),
        (
            "released",
            {"released": dict.fromkeys(CONFIG["released"])},
            "No released checkpoint .*released_checkpoints.NAME.address",
        ),
    ],
)
def test_a_table_of_nothing_is_refused_by_its_key(snakemake, config_with, table, changed, said):
    run = snakemake("-n", f"results/tables/{table}.csv", "--configfile", config_with(changed))
    assert run.returncode != 0
    assert len(re.findall(rf"WorkflowError:\s+{said}", run.stdout + run.stderr)) == 1


def test_a_real_run_refuses_to_start_without_it(snakemake, config_with, tmp_path):
    elsewhere = config_with({"results": f"{tmp_path}/results"})
    run = snakemake("all", "--cores", 1, "--nolock", "--configfile", elsewhere)
    assert run.returncode != 0
    assert "(key corpora.cc3m.train)" in run.stdout + run.stderr
    assert not list(tmp_path.glob("results/**/*.parquet"))
    assert "Finished jobid" not in run.stdout + run.stderr


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"shards": {"near_duplicate_distance": 200}}, "shards.near_duplicate_distance: 200 is greater than"),
        ({"lable": "x"}, "unknown key lable; did you mean label?"),
        ({"download": {"timeout": "soon"}}, "download.timeout: 'soon' is not of type 'integer'"),
        ({"recipes": {"cc3m": {"momentum": 0.9}}}, "recipes.cc3m: unknown key momentum"),
        (
            {"runs": [CONFIG["runs"][0] | {"objectives": ["clop"]}]},
            "runs.0.objectives.0: 'clop' is not one of ['clip', 'infonce_hopfield',",
        ),
        (
            {"runs": [CONFIG["runs"][0] | {"recipe": "dd"}]},
            "runs.0.recipe: no recipe dd; there are cc3m, yfcc15m",
        ),
        (
            {"runs": [CONFIG["runs"][0] | {"architectures": ["RN51"]}]},
            "runs.0.architectures: no architecture RN51; there are RN50, RN101, RN50x4",
        ),
        ({"architectures": {"mine": "config/mine.json"}}, "architectures.mine: no file config/mine.json"),
        (
            {"testsets": {"gtsrb": {"probe_train_set": "birdsnap"}}},
            "testsets.gtsrb.training: birdsnap has no training images of its own; those have country211",
        ),
        (
            {"testsets": {"birdsnap": {"description": "config/datasets/bird.yaml"}}},
            "testsets.birdsnap.description: no file config/datasets/bird.yaml; correct the path",
        ),
        (
            {"train": {"processes": 3}},
            "train.processes: 3 processes cannot share the 4 micro-batches of recipe cc3m equally",
        ),
        (
            {"recipes": {"cc3m": {"eval_epochs": [200]}}},
            "recipes.cc3m.eval_epochs: 200 is beyond epochs: 128",
        ),
        (
            {"recipes": {"yfcc15m": {"embedding_eval_epochs": [1, 29]}}},
            "recipes.yfcc15m.embedding_eval_epochs: 29 is beyond epochs: 28",
        ),
        (
            {"evaluate": {"image-text": {"flickr": {"title": "Flickr", "shards": "flickr/test"}}}},
            "evaluate.retrieval_sets.flickr.shards: 'flickr/test' does not match",
        ),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_a_config_that_cannot_be_right_is_refused_by_its_key(snakemake, config_with, changed, said):
    run = snakemake("-n", "--configfile", config_with(changed))
    assert run.returncode != 0
    assert said in run.stdout + run.stderr


def test_a_typo_in_a_target_is_an_error(snakemake):
    run = snakemake("-n", "results/tables/zeroshto.csv")
    assert run.returncode != 0
    assert "No rule to produce results/tables/zeroshto.csv" in run.stdout + run.stderr


def test_a_typo_in_the_profile_is_an_error_and_no_local_run(snakemake):
    run = snakemake("--profile", "slrum", "-n", "all")
    assert run.returncode != 0
    assert "slrum" in run.stdout + run.stderr


def test_the_cluster_profile_is_found_from_the_root_and_has_an_entry_for_every_rule(snakemake):
    listed = snakemake("--list-rules").stdout.split()
    profile = yaml.safe_load((ROOT / "slurm" / "config.yaml").read_text())
    assert profile["executor"] == "slurm"
    assert profile["software-deployment-method"] == "conda"
    assert set(profile["set-resources"]) - set(SITE) == set(listed) - {"all", "user_inputs"}
    # One process on each GPU, with the CPUs of its loaders.
    train, processes = profile["set-resources"]["train"], CONFIG["train"]["processes"]
    assert train["tasks"] == processes
    assert train["gres"] == f"gpu:{processes // train['nodes']}"
    assert train["cpus_per_task"] == profile["set-threads"]["train"] == 1 + CONFIG["train"]["workers"]
    assert profile["set-threads"]["fetch"] == CONFIG["download"]["processes"]
    of_shards = {profile["set-threads"][rule] for rule in ("pack", "verify", "overlap")}
    assert of_shards == {CONFIG["shards"]["processes"]}
    assert profile["set-threads"]["zeroshot"] == 1 + CONFIG["evaluate"]["workers"]
    # A run's evaluations fit in one job.
    epochs = [
        len(set(one["eval_epochs"])) + len({*one["eval_epochs"], *one["embedding_eval_epochs"]})
        for one in CONFIG["recipes"].values()
    ]
    assert profile["group-components"] == {"evaluate_{run}": max(epochs)}
    # What is grouped runs one after another, and its time is the sum.
    assert {profile["set-resources"][rule].get("one_by_one") for rule in profile["groups"]} == {1}
    planned = snakemake("--profile", "slurm", "--software-deployment-method", "env-modules", "-n", "all")
    assert planned.returncode == 0, planned.stderr
