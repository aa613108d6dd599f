"""Types of command-line arguments (`type=` of argparse) with error messages that name the expected form."""

import argparse
import math
from collections import defaultdict
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TypeVar

Value = TypeVar("Value")


def non_negative_int(text: str) -> int:
    """An integer >= 0."""
    return _integer(text, minimum=0)


def positive_int(text: str) -> int:
    """An integer >= 1."""
    return _integer(text, minimum=1)


def positive_float(text: str) -> float:
    """A finite number > 0."""
    return _float(text, "a positive number", lambda value: 0 < value < math.inf)


def fraction(text: str) -> float:
    """A number between 0 and 1, both excluded."""
    return _float(text, "a number between 0 and 1", lambda value: 0 < value < 1)


def name_and_value(form: str) -> Callable[[str], tuple[str, str]]:
    """A parser of NAME=VALUE, split at the first `=`; `form`, such as "NAME=NAME", is shown in errors."""
    return _pair_parser(form, str)


def name_and_path(form: str) -> Callable[[str], tuple[str, Path]]:
    """A parser of NAME=PATH, split at the first `=`; `form`, such as "SPLIT=CSV", is shown in errors."""
    return _pair_parser(form, Path)


def group_by_name(pairs: Iterable[tuple[str, Value]]) -> dict[str, list[Value]]:
    """The values of each name, in their order: [("train", a), ("train", b)] -> {"train": [a, b]}."""
    groups = defaultdict(list)
    for name, value in pairs:
        groups[name].append(value)
    return dict(groups)


def _pair_parser(form: str, convert: Callable[[str], Value]) -> Callable[[str], tuple[str, Value]]:
    def parse(text: str) -> tuple[str, Value]:
        name, _, value = text.partition("=")
        if not (name and value):
            raise argparse.ArgumentTypeError(f"{text!r} is not of the form {form}")
        return name, convert(value)

    return parse


def _integer(text: str, minimum: int) -> int:
    if not text.isdecimal() or int(text) < minimum:
        raise argparse.ArgumentTypeError(f"{text!r} is not an integer of at least {minimum}")
    return int(text)


def _float(text: str, expected: str, is_valid: Callable[[float], bool]) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not is_valid(value):
        raise argparse.ArgumentTypeError(f"{text!r} is not {expected}")
    return value
