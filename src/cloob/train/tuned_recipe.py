"""The recipe that a hyperparameter search has chosen for an objective. Imports no torch."""

from dataclasses import fields
from pathlib import Path
from typing import Any

from cloob.common.errors import InputError
from cloob.common.json_files import read_json
from cloob.train.recipe import Recipe


def read_tuned_values(path: Path, objective: str) -> dict[str, Any]:
    """The hyperparameters in a file of `cloob tune select`, with the types of `Recipe`.

    Raises `InputError` if it is not such a file, or belongs to another objective.
    """
    remedy = "delete it and run `cloob tune select` again"
    content = read_json(path, remedy)
    values = content.get("recipe") if isinstance(content, dict) else None
    if not isinstance(values, dict):
        raise InputError(f"{path}: not a recipe of `cloob tune select`; {remedy}")
    if content.get("objective") != objective:
        raise InputError(f"{path}: chosen for {content.get('objective')}, not for {objective}; {remedy}")
    types = {entry.name: entry.type for entry in fields(Recipe)}
    return {name: _checked(path, name, value, types.get(name), remedy) for name, value in values.items()}


def _checked(path: Path, name: str, value: Any, expected: Any, remedy: str) -> Any:
    if expected is None:
        raise InputError(f"{path}: unknown hyperparameter {name}; {remedy}")
    if expected is float and type(value) is int:
        return float(value)
    if type(value) is not expected:
        raise InputError(f"{path}: {name} is {value!r}, not of type {expected.__name__}; {remedy}")
    return value
