"""Recipes: command-line flags, constraints and run names."""

import argparse
import subprocess
import sys

import pytest

from cloob.common.errors import InputError
from cloob.models.config import model_config
from cloob.objectives.registry import OBJECTIVES
from cloob.train.recipe import (
    Recipe,
    Run,
    add_dataclass_arguments,
    check_recipe,
    dataclass_from_args,
    recipe_problems,
)
from tests.helpers.recipes import BASE, recipe


def flags(**changes):
    return [f"--{name.replace('_', '-')}={value}" for name, value in (BASE | changes).items()]


def parse(arguments):
    parser = argparse.ArgumentParser(exit_on_error=False)
    add_dataclass_arguments(parser, Recipe, "recipe")
    return dataclass_from_args(parser.parse_args(arguments), Recipe)


def test_command_line_flags_give_the_same_recipe_as_the_dataclass():
    assert parse(flags(learnable_temperature=True)) == recipe(learnable_temperature=True)


def test_hyperparameters_are_required_except_two():
    with pytest.raises(SystemExit):
        parse(flags()[1:])
    parsed = parse([flag for flag in flags() if not flag.startswith("--hopfield-beta")])
    assert (parsed.hopfield_beta, parsed.gradient_all_reduce) == (0, "float32")


@pytest.mark.parametrize(
    "invalid",
    [
        {"epochs": 0},
        {"batch_size": -1},
        {"micro_batch_size": 3},
        {"micro_batch_size": 0},
        {"crop_scale": 1.5},
        {"warmup_steps": -1},
        {"learning_rate": float("nan")},
        {"adam_beta2": 1.0},
        {"inv_temperature": 0.5},
        {"schedule": "linear"},
        {"precision": "int8"},
        {"gradient_all_reduce": "float16"},
    ],
)
def test_an_invalid_hyperparameter_is_reported_by_name(invalid):
    [name] = invalid
    with pytest.raises(InputError, match=rf"recipe\.{name}: "):
        check_recipe(recipe(**invalid))


def test_gradients_of_float64_are_not_summed_in_bfloat16():
    with pytest.raises(InputError, match=r"recipe\.gradient_all_reduce: bfloat16 would discard the digits"):
        check_recipe(recipe(precision="float64", gradient_all_reduce="bfloat16"))


def test_a_batch_of_one_pair_has_no_negatives():
    with pytest.raises(InputError, match=r"recipe\.batch_size: 1 leaves no negatives"):
        check_recipe(recipe(batch_size=1, micro_batch_size=1))


def test_micro_batches_are_divided_equally_among_the_processes():
    check_recipe(recipe(batch_size=8, micro_batch_size=2), processes=4)
    with pytest.raises(InputError, match="4 micro-batches of 2 pairs cannot be divided equally among 3"):
        check_recipe(recipe(batch_size=8, micro_batch_size=2), processes=3)


def test_batchnorm_needs_two_images_where_the_last_feature_map_is_one_pixel(model):
    with pytest.raises(InputError, match="1 is too small for the BatchNorm layers of the model"):
        check_recipe(recipe(micro_batch_size=1), model_config=model_config(model))


@pytest.mark.parametrize("name", OBJECTIVES)
def test_hopfield_objectives_need_beta(name):
    problems = [key for key, _ in recipe_problems(recipe(hopfield_beta=0.0), objective=name)]
    assert problems == (["hopfield_beta"] if OBJECTIVES[name].hopfield else [])


def test_the_base_recipe_has_no_problems(model):
    config = model_config(model)
    assert list(recipe_problems(recipe(), objective="cloob", processes=2, model_config=config)) == []


def test_the_check_runs_without_torch():
    code = "import sys, cloob.train.recipe; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_a_run_name_lists_corpus_objective_architecture_recipe_and_seed():
    assert Run("cc3m", "cloob", "RN50", "cc3m", 3).name == "cc3m-cloob-RN50-cc3m-seed3"
