"""The grid of runs, and the arguments of `cloob train`."""

from cloob.train.recipe import Run
from cloob.workflow.runs import (
    embedding_eval_epochs,
    first_and_eval_epochs,
    num_cpus,
    num_processes,
    planned_runs,
    setup_flags,
    train_flags,
    training_inputs,
)
from cloob.workflow.search import all_trials, trial_flags, trial_inputs
from tests.helpers.configs import config_from, config_problems

ROW = {"corpus": "yfcc15m", "architectures": ["RN50"], "recipe": "yfcc15m", "seeds": [1, 2]}


def test_every_combination_of_a_row_is_a_run():
    config = config_from(
        runs=[
            ROW | {"objectives": ["clip", "cloob"], "validation": "cc3m"},
            ROW | {"objectives": ["infoloob"]},
        ]
    )
    runs = planned_runs(config)
    assert list(runs) == [
        "yfcc15m-clip-RN50-yfcc15m-seed1",
        "yfcc15m-clip-RN50-yfcc15m-seed2",
        "yfcc15m-cloob-RN50-yfcc15m-seed1",
        "yfcc15m-cloob-RN50-yfcc15m-seed2",
        "yfcc15m-infoloob-RN50-yfcc15m-seed1",
        "yfcc15m-infoloob-RN50-yfcc15m-seed2",
    ]
    first, last = next(iter(runs.values())), list(runs.values())[-1]
    assert first.run == Run("yfcc15m", "clip", "RN50", "yfcc15m", 1)
    # The validation split is that of the row, by default that of the training corpus.
    assert (first.validation, last.validation) == ("cc3m", "yfcc15m")


def test_a_run_trains_on_its_corpus_and_validates_on_the_chosen_one():
    assert training_inputs(config_from(), "yfcc15m-cloob-RN50-yfcc15m-seed1") == {
        "shards": "results/shards/yfcc15m/train/shards.json",
        "validation": "results/shards/cc3m/validation/shards.json",
    }


def test_the_json_file_of_an_architecture_is_an_input_of_its_runs():
    config = config_from(architectures={"RN50": "config/architectures/RN_small.json"})
    name = "cc3m-cloob-RN50-cc3m-seed1"
    trial = ("cc3m", "cloob", next(t.name for t in all_trials(config, "cc3m") if t.objective == "cloob"))
    for inputs in (training_inputs(config, name), trial_inputs(config, *trial)):
        assert inputs["model"] == "config/architectures/RN_small.json"
    for arguments in (train_flags(config, name), trial_flags(config, *trial)):
        assert not [flag for flag in arguments if flag.startswith("--model=")]


def test_train_flags_are_the_run_its_recipe_and_the_hyperparameters_of_its_objective():
    config = config_from(train={"node_local_dir": "/scratch/it's"})
    flags = train_flags(config, "cc3m-cloob-RN50-cc3m-seed3")
    expected = [
        *("--corpus=cc3m", "--objective=cloob", "--architecture=RN50", "--recipe=cc3m", "--seed=3"),
        *("--epochs=128", "--batch-size=512", "--learning-rate=0.001", "--schedule=cosine_restarts"),
        *("--inv-temperature=30", "--learnable-temperature=False", "--hopfield-beta=8"),
        "--model=RN50-quickgelu",
    ]
    assert set(expected) <= set(flags)
    assert "--node-local-dir=/scratch/it's" in setup_flags(config)
    assert [flag for flag in flags if "keep-epochs" in flag] == [
        f"--keep-epochs={epoch}" for epoch in (1, 8, 16, 31, 64, 96, 128)
    ]
    assert not [flag for flag in flags if "eval-epochs" in flag or "objectives" in flag]


def test_an_objective_may_have_its_own_value_of_any_key_except_the_epochs():
    changes = {"cc3m": {"objectives": {"cloob": {"learning_rate": 5e-4, "adam_beta2": 0.99}}}}
    config = config_from(recipes=changes)
    clip, cloob = (train_flags(config, f"cc3m-{name}-RN50-cc3m-seed3") for name in ("clip", "cloob"))
    assert {"--learning-rate=0.001", "--adam-beta2=0.999"} <= set(clip)
    assert {"--learning-rate=0.0005", "--adam-beta2=0.99"} <= set(cloob)
    assert config_problems(recipes=changes) == []
    for key in ("epochs", "eval_epochs"):
        changes = {"cc3m": {"objectives": {"cloob": {key: 3}}}}
        assert config_problems(recipes=changes)[0].startswith("recipes.cc3m.objectives.cloob: ")


def test_objectives_without_hopfield_retrieval_have_no_beta():
    flags = train_flags(config_from(), "cc3m-clip-RN50-cc3m-seed3")
    assert not [flag for flag in flags if "hopfield" in flag]


def test_embedding_structure_is_evaluated_at_eval_epochs_too():
    recipe = {"eval_epochs": [4, 10], "embedding_eval_epochs": [2, 10]}
    assert embedding_eval_epochs(recipe) == [2, 4, 10]
    assert first_and_eval_epochs(recipe | {"embedding_eval_epochs": [2, 3]}) == [2, 4, 10]


def test_a_row_may_have_its_own_number_of_processes():
    rows = [ROW | {"objectives": ["clip"], "processes": 1}, ROW | {"objectives": ["cloob"]}]
    config = config_from(runs=rows, train={"processes": 2, "workers": 3})
    processes = [num_processes(config, name) for name in planned_runs(config)]
    assert processes == [1, 1, 2, 2]
    assert num_cpus(config, 2) == 8
