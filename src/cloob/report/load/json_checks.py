"""Type checks of JSON files: damaged or foreign input is an error that names the file and the key."""

import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from cloob.common.errors import InputError, io_errors_at

NUMBER = (int, float)
OPTIONAL_NUMBER = (int, float, type(None))
ANYTHING = (object,)


def parse_json(text: bytes) -> Any:
    """JSON in UTF-8, with or without a byte order mark. Raises `ValueError` with a one-line message."""
    try:
        value = json.loads(text.decode("utf-8-sig"))
        # A lone surrogate is not valid text, and pandas treats all strings that contain one as equal.
        if b"\\ud" in text.lower():
            json.dumps(value, ensure_ascii=False).encode()
        return value
    except RecursionError:
        raise ValueError("nested too deeply") from None
    except ValueError as error:
        raise ValueError(" ".join(str(error).split())) from None


def read_json(path: Path, if_missing: str, remedy: str) -> Any:
    """A JSON file. Raises `InputError`: with `if_missing` if there is no file, `remedy` if it is not JSON."""
    try:
        with io_errors_at(path):
            content = path.read_bytes()
        return parse_json(content)
    except FileNotFoundError:
        raise InputError(f"{path}: {if_missing}") from None
    except ValueError as error:
        raise InputError(f"{path}: not JSON ({error}); {remedy}") from None


def type_error(value: Any, schema: Any, name: str = "") -> str | None:
    """Describe the first value that does not match the schema; None if all match.

    A schema is a tuple of types, a list with the schema of its items, or a dict with the schema of each key:
    keys that begin with `?` are optional, `*` means all other keys. Numbers must be finite.
    """
    types = schema if isinstance(schema, tuple) else (type(schema),)
    # bool is a subclass of int.
    matches = isinstance(value, types) and (not isinstance(value, bool) or bool in types or object in types)
    if not matches or (isinstance(value, (int, float)) and not _is_finite(value)):
        return f"{name or 'it'} is {_short(value)}"
    return next(filter(None, (type_error(*child) for child in _children(value, schema, name))), None)


def _is_finite(value: float) -> bool:
    return math.isfinite(value) if isinstance(value, float) else abs(value) < 2**63


def _children(value: Any, schema: Any, name: str) -> Iterator[tuple[Any, Any, str]]:
    """(value, schema, name) of each item of a list or dict; a missing key has the type `_Missing`."""
    if isinstance(schema, list):
        for index, item in enumerate(value):
            yield item, schema[0], f"{name}[{index}]"
    elif isinstance(schema, dict):
        prefix = f"{name}." if name else ""
        for key in schema:
            if key[0] not in "?*" and key not in value:
                yield None, (_Missing,), f"{prefix}{key}"
        for key, item in value.items():
            item_schema = schema.get(key, schema.get(f"?{key}", schema.get("*", ANYTHING)))
            yield item, item_schema, f"{prefix}{key}"


class _Missing:
    """A type without instances."""


def _short(value: Any) -> str:
    return {list: "a list", dict: "an object", type(None): "missing"}.get(type(value)) or f"{value!r:.40}"
