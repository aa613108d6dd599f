"""Validate a test-set spec by its JSON Schema (`spec.schema.yaml`): one line for the first problem."""

import reprlib
from functools import cache
from pathlib import Path
from typing import Any

import yaml
from jsonschema import FormatChecker, ValidationError

from cloob.common.json_schema import StrictValidator, suggest_key
from cloob.common.text import has_control_characters
from cloob.common.yaml_file import value_hint

_MAX_VALUES = 100_000  # YAML aliases can multiply a few lines into more values than fit into memory
_FORMATS = FormatChecker(formats=())


@_FORMATS.checks("printable")
def _is_printable(value: Any) -> bool:
    return not isinstance(value, str) or (bool(value.strip()) and not has_control_characters(value))


@cache
def _schema() -> dict[str, Any]:
    path = Path(__file__).with_name("spec.schema.yaml")
    return yaml.safe_load(path.read_text(encoding="utf-8"))


def schema_problem(content: Any) -> str | None:
    """The first violation of the schema: the key, what is wrong, and the remedy; None if there is none."""
    if not isinstance(content, dict):
        return f"not a mapping with the keys {', '.join(_schema()['properties'])}"
    if _is_too_large(content):
        return f"more than {_MAX_VALUES:,} values; a spec is smaller"
    errors = StrictValidator(_schema(), format_checker=_FORMATS).iter_errors(content)
    first = next(iter(sorted(errors, key=_rank)), None)
    return _explain(first) if first else None


def is_text(value: Any) -> bool:
    """Whether a value is a text as the schema defines them: printable, and not blank."""
    return isinstance(value, str) and _FORMATS.conforms(value, "printable")


def short_repr(value: Any) -> str:
    """A short representation of a value of any size."""
    text = reprlib.repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def _is_too_large(content: Any) -> bool:
    pending, count = [content], 0
    while pending and count <= _MAX_VALUES:
        value = pending.pop()
        count += 1
        if isinstance(value, dict):
            pending.extend(value.values())
        elif isinstance(value, list):
            pending.extend(value)
    return count > _MAX_VALUES


def _rank(error: ValidationError) -> tuple[bool, list[str]]:
    """Unknown keys first: a misspelled key is also a missing one."""
    return error.validator != "additionalProperties", list(map(str, error.absolute_path))


def _explain(error: ValidationError) -> str:
    path = list(error.absolute_path)
    if error.validator == "additionalProperties":
        known = error.schema["properties"]
        unknown = next(key for key in error.instance if key not in known)
        return f"unknown key {_dotted([*path, unknown])!r}; {suggest_key(str(unknown), known)}"
    if error.validator == "required":
        missing = next(key for key in error.validator_value if key not in error.instance)
        return f"key {_dotted([*path, missing])!r} is missing; give {_description([*path, missing])}"
    remedy = _description(path)
    problem = f"is {short_repr(error.instance)}"
    if error.validator == "uniqueItems":
        first, second, value = _duplicate(error.instance)
        problem = f"is a list whose entries {first} and {second} are both {short_repr(value)}"
    elif isinstance(path[-1], int):
        problem = f"is a list whose entry {path.pop() + 1} {problem}"
    if error.validator == "type":
        expected = error.validator_value
        if spelling := value_hint(error.instance, [expected] if isinstance(expected, str) else expected):
            problem += f" ({spelling})"
    return f"key {_dotted(path)!r} {problem}; give {remedy}"


def _duplicate(values: list[Any]) -> tuple[int, int, Any]:
    """The positions (1-based) of the first two equal entries, and their value."""
    for second, value in enumerate(values):
        if value in values[:second]:
            return values.index(value) + 1, second + 1, value
    raise ValueError("no duplicates")


def _dotted(path: list[Any]) -> str:
    """`["source", "official", "files", 0, "url"]` -> `source.official.files[0].url`."""
    return "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in path).lstrip(".")


def _description(path: list[Any]) -> str:
    """The innermost description in the schema along a path."""
    schema, description = _schema(), "a test-set spec"
    for part in path:
        schema = (
            schema.get("items", {}) if isinstance(part, int) else schema.get("properties", {}).get(part, {})
        )
        if reference := schema.get("$ref"):
            schema = _schema()["$defs"][reference.rpartition("/")[2]] | schema
        description = schema.get("description", description)
    return description
