"""Keys of a spec that a prepared test set replaces, stored in its folder: `spec_changes.json`.

A distribution may lack a split, or its own class names and prompts may be used (`prompts: webdataset`). The
file is a JSON object with some of the keys `validation` (null), `classes` and `prompts` (lists of texts).
"""

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

from cloob.common.errors import InputError
from cloob.common.json_files import read_json, write_json
from cloob.evaluate.testsets.spec import TestSetSpec
from cloob.evaluate.testsets.spec_schema import is_text

_FILE = "spec_changes.json"
_REPLACEABLE = {"classes": "class names", "prompts": "prompts"}
_PROMPT = re.compile(r"[^{}]*\{\}[^{}]*")  # as in spec.schema.yaml


def write_spec_changes(folder: Path, changes: dict[str, Any]) -> None:
    """Store changes in the folder of a prepared test set."""
    write_json(folder / _FILE, changes)


def changed_spec(spec: TestSetSpec, folder: Path) -> TestSetSpec:
    """The spec with the changes that are stored in `folder`, if there are any.

    A replacement of class names or prompts is printed. Raises `InputError`.
    """
    path = folder / _FILE
    if not path.is_file():
        return spec
    changes = read_json(path, "prepare the test set again")
    if not isinstance(changes, dict) or not all(_is_valid(*item) for item in changes.items()):
        raise InputError(
            f"{path}: not written by `cloob evaluate prepare-testset`; prepare the test set again"
        )
    if replaced := [name for key, name in _REPLACEABLE.items() if key in changes]:
        print(f"{path}: its {' and '.join(replaced)} replace those of {spec.path}")
    return replace(spec, **changes)


def _is_valid(key: str, value: Any) -> bool:
    if key == "validation":
        return value is None
    if key not in _REPLACEABLE or not isinstance(value, list) or not value:
        return False
    return all(is_text(text) and (key == "classes" or _PROMPT.fullmatch(text)) for text in value)
