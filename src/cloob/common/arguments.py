"""Types of command-line arguments that say what is wrong with a value."""

import argparse
import math
from collections.abc import Callable


def non_negative_int(text: str) -> int:
    """A whole number from 0."""
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number from 0")
    return int(text)


def positive_int(text: str) -> int:
    """A whole number from 1."""
    if not text.isdecimal() or int(text) == 0:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number from 1")
    return int(text)


def positive_float(text: str) -> float:
    """A number above 0."""
    return _number(text, "a number above 0", lambda value: 0 < value < math.inf)


def fraction(text: str) -> float:
    """A number above 0 and below 1."""
    return _number(text, "a number above 0 and below 1", lambda value: 0 < value < 1)


def _number(text: str, wanted: str, is_right: Callable[[float], bool]) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not is_right(value):
        raise argparse.ArgumentTypeError(f"{text!r} is not {wanted}")
    return value
