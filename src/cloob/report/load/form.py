"""Values read from JSON, checked against the types that the report needs."""

import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from cloob.common.errors import InputError, io_errors_at

# Of a form: a number, a number or nothing, anything.
NUMBER = (int, float)
MAYBE = (int, float, type(None))
ANYTHING = (object,)


def parse(text: bytes) -> Any:
    """JSON in UTF-8, with or without a byte order mark. Raises `ValueError`, of one line, for all else."""
    try:
        value = json.loads(text.decode("utf-8-sig"))
        # Half of a surrogate pair is no text; pandas takes all texts with one for the same.
        if b"\\ud" in text.lower():
            json.dumps(value, ensure_ascii=False).encode()
        return value
    except RecursionError:
        raise ValueError("nested too deeply") from None
    except ValueError as error:
        raise ValueError(" ".join(str(error).split())) from None


def read_file(path: Path, absent: str, remedy: str) -> Any:
    """A JSON file. Raises `InputError`, with `absent` where it is missing, `remedy` where it is no JSON."""
    try:
        with io_errors_at(path):
            content = path.read_bytes()
        return parse(content)
    except FileNotFoundError:
        raise InputError(f"{path}: {absent}") from None
    except ValueError as error:
        raise InputError(f"{path}: not JSON ({error}); {remedy}") from None


def wrong(value: Any, form: Any, name: str = "") -> str | None:
    """What is wrong with a value, in words; None where it has the form.

    A form is a tuple of types, a list of the form of its items, or a dict of the forms of its keys: one
    with a question mark before it may be missing, and `*` stands for every other key. Numbers are finite.
    """
    types = form if isinstance(form, tuple) else (type(form),)
    # In Python true is an integer.
    fits = isinstance(value, types) and (not isinstance(value, bool) or bool in types or object in types)
    if not fits or (isinstance(value, (int, float)) and not _finite(value)):
        return f"{name or 'it'} is {_short(value)}"
    return next(filter(None, (wrong(*part) for part in _parts(value, form, name))), None)


def _finite(value: float) -> bool:
    return math.isfinite(value) if isinstance(value, float) else abs(value) < 2**63


def _parts(value: Any, form: Any, name: str) -> Iterator[tuple[Any, Any, str]]:
    """The values within a list or dict with their forms and names; a missing key is None, of no form."""
    if isinstance(form, list):
        for place, item in enumerate(value):
            yield item, form[0], f"{name}[{place}]"
    elif isinstance(form, dict):
        below = f"{name}." if name else ""
        for key in form:
            if key[0] not in "?*" and key not in value:
                yield None, (_Missing,), f"{below}{key}"
        for key, item in value.items():
            yield item, form.get(key, form.get(f"?{key}", form.get("*", ANYTHING))), f"{below}{key}"


class _Missing:
    """The type of no value."""


def _short(value: Any) -> str:
    return {list: "a list", dict: "an object", type(None): "missing"}.get(type(value)) or f"{value!r:.40}"
