"""Types of command-line arguments."""

import argparse
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from cloob.common.arguments import (
    fraction,
    group_by_name,
    joined_flags,
    name_and_path,
    name_and_value,
    non_negative_float,
    non_negative_int,
    positive_float,
    positive_int,
    with_argument_files,
)


@pytest.mark.parametrize(
    ("parse", "text", "value"),
    [
        (non_negative_int, "0", 0),
        (positive_int, "1", 1),
        (non_negative_float, "0", 0.0),
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
        (non_negative_float, "nan", "'nan' is not a number of at least 0"),
        (non_negative_float, "inf", "'inf' is not a number of at least 0"),
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


def test_a_file_stands_for_arguments_of_any_bytes(tmp_path: Path) -> None:
    file, arguments = tmp_path / "arguments", ["--a=b c", "--d=\n", "@e", "", "--f=\u2028\udcff"]
    file.write_bytes(b"".join(os.fsencode(argument) + b"\0" for argument in arguments))
    assert with_argument_files(["x", f"@{file}", "y"]) == ["x", *arguments, "y"]
    assert with_argument_files(["x", "--", f"@{file}"]) == ["x", "--", f"@{file}"]
    file.write_bytes(b"")
    assert with_argument_files([f"@{file}"]) == []
    with pytest.raises(OSError, match="missing"):
        with_argument_files([f"@{tmp_path}/missing"])


def test_repeated_flags_are_joined_because_argparse_is_quadratic_in_them() -> None:
    arguments = ["x", "--a=1", "--a=2=3", "--a=4", "y", "--a=5", "--b=1", "--b=2", "--a=6", "--a=-7"]
    joined = ["x", "--a", "1", "2=3", "--a=4", "y", "--a=5", "--b=1", "--b=2", "--a=6", "--a=-7"]
    assert joined_flags(arguments, ["--a"]) == joined
    assert joined_flags(["--", "--a=1", "--a=2"], ["--a"]) == ["--", "--a=1", "--a=2"]
    assert joined_flags(["--a=", "--a=2", "--a"], ["--a"]) == ["--a=", "--a=2", "--a"]
    parser = argparse.ArgumentParser()
    parser.add_argument("words", nargs="*")
    for flag in ("--a", "--b"):
        parser.add_argument(flag, nargs="+", action="extend")
    assert parser.parse_intermixed_args(joined) == parser.parse_intermixed_args(arguments)
