import argparse

import pytest

from cloob.common.errors import InputError
from cloob.train.recipe import Recipe, Run, add_record, record_from
from tests.helpers.recipes import BASE, recipe


def spelled(**changes):
    values = BASE | changes
    return [f"--{name.replace('_', '-')}={value}" for name, value in values.items()]


def parse(arguments):
    parser = argparse.ArgumentParser(exit_on_error=False)
    add_record(parser, Recipe, "recipe")
    return record_from(parser.parse_args(arguments), Recipe)


def test_flags_and_recipe_are_the_same_thing():
    assert parse(spelled(learnable_temperature=True)) == recipe(learnable_temperature=True)


def test_every_hyperparameter_has_to_be_said():
    with pytest.raises(SystemExit):
        parse(spelled()[1:])


@pytest.mark.parametrize(
    "wrong",
    [
        {"epochs": 0},
        {"batch_size": -1},
        {"micro_batch_size": 3},
        {"micro_batch_size": 0},
        {"crop_scale": 1.5},
        {"warmup_steps": -1},
        {"learning_rate": "nan"},
    ],
)
def test_a_value_that_cannot_be_is_refused_by_name(wrong):
    with pytest.raises(InputError, match=next(iter(wrong))):
        parse(spelled(**wrong))


def test_a_run_is_named_by_all_that_it_is():
    assert Run("cc3m", "cloob", "RN50", "cc3m", 3).name == "cc3m-cloob-RN50-cc3m-seed3"
