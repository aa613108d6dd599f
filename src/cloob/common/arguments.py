"""Types of command-line arguments (`type=` of argparse) with error messages that name the expected form."""

import argparse
import itertools
import math
import os
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Sequence
from pathlib import Path
from typing import TypeVar

from cloob.common.errors import InputError, io_errors_at

Value = TypeVar("Value")


def non_negative_int(text: str) -> int:
    """An integer >= 0."""
    return _integer(text, minimum=0)


def positive_int(text: str) -> int:
    """An integer >= 1."""
    return _integer(text, minimum=1)


def non_negative_float(text: str) -> float:
    """A finite number >= 0."""
    return _float(text, "a number of at least 0", lambda value: 0 <= value < math.inf)


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


def with_argument_files(arguments: Sequence[str]) -> list[str]:
    """The arguments, with those in FILE instead of each `@FILE` before `--`; they end in NUL bytes.

    Systems limit the length of a command line (2 MB on Linux), but paths of result files may be longer.
    Raises `OSError` if a file cannot be read, and `InputError` if its last argument does not end.
    """
    before = _end_of_flags(arguments)
    expanded: list[str] = []
    for argument in arguments[:before]:
        if argument.startswith("@"):
            path = Path(argument[1:])
            with io_errors_at(path):
                *ended, rest = path.read_bytes().split(b"\0")
            if rest:
                raise InputError(
                    f"{path}: does not end in a NUL byte: truncated, or not a file of arguments; write it "
                    r"with printf '%s\0' ARGUMENT ..."
                )
            expanded += map(os.fsdecode, ended)
        else:
            expanded.append(argument)
    return [*expanded, *arguments[before:]]


def joined_flags(arguments: Sequence[str], flags: Collection[str]) -> list[str]:
    """["--a=1", "--a=2", "--a=3"] -> ["--a", "1", "2", "--a=3"] for those of `flags`, up to `--`.

    Values that begin with a hyphen keep their flag, and the last value, because other arguments may follow.
    """
    joined: list[str] = []
    before = _end_of_flags(arguments)
    for flag, group in itertools.groupby(arguments[:before], lambda argument: argument.partition("=")[0]):
        parts = list(group)
        values = [part.partition("=")[2] for part in parts]
        if flag in flags and len(values) > 1 and all(value and value[0] != "-" for value in values):
            parts = [flag, *values[:-1], parts[-1]]
        joined += parts
    return [*joined, *arguments[before:]]


def group_by_name(pairs: Iterable[tuple[str, Value]]) -> dict[str, list[Value]]:
    """The values of each name, in their order: [("train", a), ("train", b)] -> {"train": [a, b]}."""
    groups = defaultdict(list)
    for name, value in pairs:
        groups[name].append(value)
    return dict(groups)


def _end_of_flags(arguments: Sequence[str]) -> int:
    return arguments.index("--") if "--" in arguments else len(arguments)


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
