"""Recipes with hyperparameters that a search has chosen."""

import json
from pathlib import Path

import pytest

from cloob.common.errors import InputError
from cloob.train.tuned_recipe import read_tuned_values


def write(path: Path, **content: object) -> Path:
    path.write_text(json.dumps({"search": "toy", "objective": "cloob"} | content))
    return path


def test_values_have_the_types_of_the_recipe(tmp_path: Path) -> None:
    path = write(tmp_path / "r.json", recipe={"hopfield_beta": 8, "warmup_steps": 3, "compile": False})
    values = read_tuned_values(path, "cloob")
    assert values == {"hopfield_beta": 8.0, "warmup_steps": 3, "compile": False}
    assert type(values["hopfield_beta"]) is float


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({}, "not a recipe of `cloob tune select`"),
        ({"recipe": {}, "objective": "clip"}, "chosen for clip, not for cloob"),
        ({"recipe": {"momentum": 0.9}}, "unknown hyperparameter momentum"),
        ({"recipe": {"warmup_steps": 2.5}}, "warmup_steps is 2.5, not of type int"),
        ({"recipe": {"warmup_steps": True}}, "warmup_steps is True, not of type int"),
        ({"recipe": {"learning_rate": "0.1"}}, "learning_rate is '0.1', not of type float"),
    ],
)
def test_other_files_are_rejected(tmp_path: Path, content: dict, message: str) -> None:
    with pytest.raises(InputError, match=rf"r.json: {message}.*; delete it"):
        read_tuned_values(write(tmp_path / "r.json", **content), "cloob")
