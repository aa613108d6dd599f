"""Types of command-line arguments."""

import argparse
from collections.abc import Callable
from pathlib import Path

import pytest

from cloob.common.arguments import (
    fraction,
    group_by_name,
    name_and_path,
    name_and_value,
    non_negative_int,
    positive_float,
    positive_int,
)


@pytest.mark.parametrize(
    ("parse", "text", "value"),
    [
        (non_negative_int, "0", 0),
        (positive_int, "1", 1),
        (positive_float, "1e-3", 0.001),
        (fraction, "0.5", 0.5),
        (name_and_value("NAME=NAME"), "a=b=c", ("a", "b=c")),
        (name_and_path("NAME=PATH"), "a/b=x y.json", ("a/b", Path("x y.json"))),
    ],
)
def test_valid_argument_is_parsed(parse: Callable[[str], object], text: str, value: object) -> None:
    assert parse(text) == value


@pytest.mark.parametrize(
    ("parse", "text", "message"),
    [
        (non_negative_int, "-1", "'-1' is not an integer of at least 0"),
        (non_negative_int, "1.0", "'1.0' is not an integer of at least 0"),
        (positive_int, "0", "'0' is not an integer of at least 1"),
        (positive_float, "0", "'0' is not a positive number"),
        (positive_float, "inf", "'inf' is not a positive number"),
        (positive_float, "nan", "'nan' is not a positive number"),
        (positive_float, "x", "'x' is not a positive number"),
        (fraction, "1", "'1' is not a number between 0 and 1"),
        (name_and_path("SPLIT=CSV"), "train", "'train' is not of the form SPLIT=CSV"),
        (name_and_path("SPLIT=CSV"), "=a.csv", "'=a.csv' is not of the form SPLIT=CSV"),
        (name_and_value("NAME=NAME"), "a=", "'a=' is not of the form NAME=NAME"),
    ],
)
def test_invalid_argument_names_the_expected_form(
    parse: Callable[[str], object], text: str, message: str
) -> None:
    with pytest.raises(argparse.ArgumentTypeError) as raised:
        parse(text)
    assert str(raised.value) == message


def test_values_are_grouped_by_name_in_order() -> None:
    pairs = [("train", 1), ("validation", 2), ("train", 3)]
    assert group_by_name(pairs) == {"train": [1, 3], "validation": [2]}
