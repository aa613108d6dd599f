"""JSON Schema validation of YAML files, with the number types of Python."""

import difflib
import math
from collections.abc import Iterable

from jsonschema import Draft202012Validator
from jsonschema.validators import extend

# JSON Schema accepts 5.0 as an integer and NaN as a number within all limits; the programs do not.
StrictValidator = extend(
    Draft202012Validator,
    type_checker=Draft202012Validator.TYPE_CHECKER.redefine_many(
        {
            "integer": lambda checker, value: type(value) is int,
            "number": lambda checker, value: type(value) in (int, float) and math.isfinite(value),
        }
    ),
)


def suggest_key(key: str, known: Iterable[str]) -> str:
    """The remedy for an unknown key: the most similar known one, or else all of them."""
    known = list(known)
    close = difflib.get_close_matches(key, known, n=1)
    return f"did you mean {close[0]!r}?" if close else f"the keys are {', '.join(known)}"
