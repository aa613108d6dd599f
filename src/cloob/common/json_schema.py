"""JSON Schema validation of YAML files, with the number types of Python."""

import difflib
import math
from collections.abc import Iterable

from jsonschema import Draft202012Validator
from jsonschema.validators import extend


def _is_finite(value: float) -> bool:
    """Whether a number is finite, also as a float: integers of 310 digits are not."""
    try:
        return math.isfinite(value)
    except OverflowError:
        return False


# JSON Schema accepts 5.0 as an integer and NaN as a number within all limits; the programs do not.
StrictValidator = extend(
    Draft202012Validator,
    type_checker=Draft202012Validator.TYPE_CHECKER.redefine_many(
        {
            "integer": lambda checker, value: type(value) is int and _is_finite(value),
            "number": lambda checker, value: type(value) in (int, float) and _is_finite(value),
        }
    ),
)


def suggest_key(key: str, known: Iterable[str]) -> str:
    """The remedy for an unknown key: the most similar known one, or else all of them."""
    known = list(known)
    close = difflib.get_close_matches(key, known, n=1)
    return f"did you mean {close[0]!r}?" if close else f"the keys are {', '.join(known)}"
