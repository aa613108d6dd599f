"""The plan of hyperparameter searches: trials, flags, tables, and the check of the config."""

import pytest

from cloob.report.registry import tables
from cloob.workflow import search
from cloob.workflow.corpora import Split, needed_splits, validation_manifests
from cloob.workflow.report_inputs import report_input_files, report_names, unmet_requirement
from cloob.workflow.runs import planned_runs, recipe_of, train_flags, training_inputs
from tests.helpers.configs import checked_config, config_from, config_problems
from tests.helpers.repository import ROOT

CONFIG = config_from()
ROW = CONFIG["runs"][0]
GRID = {
    "clip": {"learning_rate": [5e-4, 1e-3], "inv_temperature": [14.3, 30]},
    "cloob": {"warmup_steps": [100, 200], "hopfield_beta": [8, 14.3]},
}
SEARCH = {"corpus": "cc3m", "architecture": "RN50", "recipe": "cc3m", "seed": 0, "grid": GRID}
NAMES_SEARCH = [ROW | {"search": "mine", "seeds": [1]}]

pytestmark = pytest.mark.usefixtures("in_repository")


def config_with_search(**changes):
    config = config_from(runs=NAMES_SEARCH)
    config["search"] = {"mine": SEARCH | changes}
    return config


def test_every_combination_of_the_grid_is_a_trial_named_by_its_values():
    trials = search.planned_trials(config_with_search(), "mine", "cloob")
    assert {name: trial.values for name, trial in trials.items()} == {
        f"warmup_steps_{steps}+hopfield_beta_{beta}": {"warmup_steps": steps, "hopfield_beta": beta}
        for steps in (100, 200)
        for beta in (8, 14.3)
    }


def test_extending_a_grid_keeps_the_folders_of_its_trials():
    longer = GRID["clip"] | {"learning_rate": [1e-5, 5e-4, 1e-3]}
    before = search.trial_logs(config_with_search(), "mine", "clip")
    after = search.trial_logs(config_with_search(grid=GRID | {"clip": longer}), "mine", "clip")
    assert set(before) < set(after)
    assert before[0] == "results/tune/mine/clip/learning_rate_0.0005+inv_temperature_14.3/metrics.jsonl"


def test_a_trial_is_trained_with_the_base_recipe_and_its_values():
    config = config_with_search()
    flags = search.trial_flags(config, "mine", "cloob", "warmup_steps_100+hopfield_beta_14.3")
    expected = {"--warmup-steps=100", "--hopfield-beta=14.3", "--epochs=128", "--learning-rate=0.001"}
    expected |= {"--seed=0", "--objective=cloob", "--recipe=cc3m+warmup_steps_100+hopfield_beta_14.3"}
    assert expected <= set(flags)
    names = [flag.partition("=")[0] for flag in flags]
    assert len(names) == len(set(names))
    assert not [flag for flag in flags if "keep-epochs" in flag]


def test_a_run_that_names_a_search_waits_for_the_recipe_of_its_objective():
    config = config_with_search()
    runs = planned_runs(config)
    assert list(runs) == [f"cc3m-{objective}-RN50-cc3m@mine-seed1" for objective in ("clip", "cloob")]
    name = "cc3m-cloob-RN50-cc3m@mine-seed1"
    assert training_inputs(config, name)["tuned_recipe"] == "results/tune/mine/cloob.json"
    assert recipe_of(config, name) == config["recipes"]["cc3m"]
    assert {"--recipe=cc3m@mine", "--epochs=128", "--keep-epochs=31"} <= set(train_flags(config, name))
    assert "tuned_recipe" not in training_inputs(CONFIG, "cc3m-cloob-RN50-cc3m-seed1")


def test_all_makes_the_table_of_searches_only_if_runs_name_one():
    assert "search" not in report_names(CONFIG, "table")
    assert "search" in report_names(config_with_search(), "table")
    # On request, those of the default config; without any, the error names the key.
    assert report_input_files(CONFIG, "table", "search", ROOT) == [
        f"results/tune/cc3m/{objective}_trials.json" for objective in ("clip", "cloob")
    ]
    assert unmet_requirement(config_from(search={"cc3m": None}) | {"search": {}}, tables()["search"])


def test_the_table_shows_only_the_searches_that_runs_name():
    config = config_with_search()
    config["search"]["other"] = SEARCH
    assert search.reported_searches(config) == ["mine"]
    config["runs"] = [ROW]
    assert search.reported_searches(config) == ["mine", "other"]


def test_a_corpus_is_packed_without_the_images_that_decide_a_search():
    config = config_with_search(validation="web")
    config["corpora"]["web"] = {"title": "Web", "validation": {"shards": "data/web"}}
    assert Split("web", "validation") in needed_splits(config)
    manifests = [f"results/shards/{corpus}/validation/shards.json" for corpus in ("cc3m", "web")]
    assert validation_manifests(config, "cc3m") == manifests


def test_null_removes_a_search():
    assert checked_config(search={"cc3m": None})["search"] == {}


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        (
            {"grid": GRID | {"clip": {"learning_rate": [1e-3]}}},
            "search.mine.grid: unequal numbers of settings (clip 1, cloob 4); give every objective the same",
        ),
        ({"seed": 1}, "search.mine.seed: 1 is also a seed of cc3m-clip-RN50-cc3m@mine-seed1; choose another"),
        ({"corpus": "web"}, "search.mine.corpus: web is not defined; corpora has cc3m, yfcc15m"),
        ({"recipe": "web"}, "search.mine.recipe: web is not defined; recipes has cc3m, yfcc15m"),
        ({"architecture": "RN51"}, "search.mine.architecture: RN51 is not defined; architectures has RN50"),
        ({"validation": "yfcc15m"}, "corpora.yfcc15m: no validation split; corpora with one: cc3m; choose"),
        ({"grid": {}}, "search.mine.grid: {} should be non-empty"),
        ({"grid": {"clip": {}}}, "search.mine.grid.clip: {} should be non-empty"),
        ({"grid": GRID | {"clip": {"epochs": [1, 2]}}}, "search.mine.grid.clip: unknown key epochs"),
        (
            {"grid": GRID | {"clip": {"hopfield_beta": [1, 2, 3, 4]}}},
            "search.mine.grid.clip: unknown key hopfield_beta",
        ),
        (
            {"grid": GRID | {"clip": {"learning_rate": [1e-3, 1e-3, 2e-3, 4e-3]}}},
            "search.mine.grid.clip.learning_rate: [0.001, 0.001, 0.002, 0.004] has non-unique elements",
        ),
        (
            {"processes": 3},
            "search.mine: recipes.cc3m.micro_batch_size: 4 micro-batches of 128 pairs cannot be divided "
            "equally among 3 processes; set search.mine.processes, or search.mine: null",
        ),
        (
            {"grid": GRID | {"cloob": {"micro_batch_size": [100, 128, 256, 512]}}},
            "search.mine.grid.cloob.micro_batch_size: 100 does not divide batch_size, 512",
        ),
        (
            {"grid": {"cloob": GRID["cloob"]}},
            "runs.0.objectives: clip is not in the grid of search mine; add search.mine.grid.clip",
        ),
    ],
)
def test_problems_of_a_search_are_reported_by_key(changes, expected):
    lines = config_problems(runs=NAMES_SEARCH, search={"cc3m": None, "mine": SEARCH | changes})
    assert [line for line in lines if line.startswith(expected)], lines


def test_an_unused_search_that_the_processes_do_not_fit_is_named_unless_no_table_needs_it():
    row = CONFIG["runs"][1]
    train = {"processes": 8}  # fits the 8 micro-batches of yfcc15m, not the 4 of cc3m
    assert config_problems(runs=[row], train=train) == [
        "search.cc3m: recipes.cc3m.micro_batch_size: 4 micro-batches of 128 pairs cannot be divided equally "
        "among 8 processes; set search.cc3m.processes, or search.cc3m: null"
    ]
    mine = SEARCH | {"corpus": "yfcc15m", "validation": "cc3m", "recipe": "yfcc15m"}
    assert config_problems(runs=[row | {"search": "mine"}], train=train, search={"mine": mine}) == []


def test_names_of_trials_that_are_too_long_for_files_are_reported():
    keys = (
        "warmup_steps",
        "cycles",
        "batch_size",
        "micro_batch_size",
        "adam_beta1",
        "adam_beta2",
        "adam_eps",
    )
    keys += ("schedule", "decay_temperature", "precision", "compile", "weight_decay")
    grid = {key: [CONFIG["recipes"]["cc3m"][key]] for key in keys} | {"crop_scale": [1]}
    problem = (
        "search.mine.grid.cloob: its keys and values name files of up to 257 bytes, but 255 are the maximum; "
        "set keys with a single value in the recipe"
    )
    for value, problems in ((30, []), (30.5, [problem])):
        search = SEARCH | {"grid": {"cloob": grid | {"inv_temperature": [value]}}}
        assert config_problems(search={"cc3m": None, "mine": search}) == problems


def test_a_run_with_an_undefined_search_is_reported():
    lines = config_problems(runs=[ROW | {"search": "cc12m"}])
    assert lines == ["runs.0.search: cc12m is not defined; search has cc3m"]
    lines = config_problems(runs=[ROW | {"search": "", "validation": ""}])
    assert lines == [
        'runs.0.validation: "" is not defined; corpora has cc3m, yfcc15m',
        'runs.0.search: "" is not defined; search has cc3m',
    ]


def test_the_search_of_the_default_config_is_planned_on_request(snakemake):
    plan = snakemake("-n", "-p", "results/tables/search.csv")
    assert plan.returncode == 0, plan.stdout + plan.stderr
    text = plan.stdout + plan.stderr
    assert "16 × cc3m RN50, trials of search cc3m (only for tables/search.csv), 128 epochs" in text
    assert text.count("-m cloob train ") == 16 and text.count(" --trial ") == 16
    assert "--keys=learning_rate --keys=warmup_steps --keys=hopfield_beta" in plan.stdout


def test_the_ablation_searches_recipes_before_it_trains_its_runs(snakemake):
    files = ("config/demo.yaml", "config/ablation.yaml")
    plan = snakemake("-n", "-p", "results/ablation/tables/claims.csv", "--configfile", *files)
    assert plan.returncode == 0, plan.stdout + plan.stderr
    commands = [line for line in plan.stdout.splitlines() if "-m cloob train " in line]
    trials = [line for line in commands if "--trial" in line]
    runs = [line for line in commands if "--tuned-recipe=results/ablation/tune/toy/" in line]
    assert (len(trials), len(runs), len(commands)) == (24, 32, 56)
    assert "cloob download" not in plan.stdout
