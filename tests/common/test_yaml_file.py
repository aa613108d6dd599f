"""YAML files: values that YAML 1.1 reads in an unexpected way are reported in one line."""

from pathlib import Path

import pytest
import yaml

from cloob.common.errors import InputError
from cloob.common.yaml_file import find_pitfalls, read_yaml, value_hint


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("workers: 010", "line 1: workers: YAML reads 010 as 8 (base 8); write no leading zero"),
        ("a:\n  - -017", "line 2: a.0: YAML reads -017 as -15 (base 8)"),
        ("runtime: 1:30:00", "line 1: runtime: YAML reads 1:30:00 as 5400 (base 60)"),
        ("x: 2:3.5", "line 1: x: YAML reads 2:3.5 as 123.5 (base 60)"),
        ("label: 2026-11-01", "line 1: label: YAML reads 2026-11-01 as a date; put it in quotes"),
        ("rate: .inf", "line 1: rate: .inf is not a finite number"),
        ("rate: .nan", "line 1: rate: .nan is not a finite number"),
        ("a: 1\nb: 2\na: 3", "line 3: key a is given twice, first in line 1; delete one"),
        ("a: {b: {c: 1, c: 2}}", "line 1: key a.b.c is given twice"),
        ("off: 1", "line 1: key off is not read as text; put it in quotes"),
        ("a: {1: 2}", "line 1: key a.1 is not read as text"),
        ("a: {2026-01-01: 2}", "line 1: key a.2026-01-01 is not read as text"),
        ("~: 2", "line 1: key ~ is not read as text"),
    ],
)
def test_unexpected_readings_are_reported_with_line_and_key(text, message):
    [line] = find_pitfalls(text)
    assert line.startswith(message)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "a: 10\nb: -0.5\nc: 0\nd: 0.5e+3\ne: 0x1F",
        "a: '010'\nb: \"1:30\"\nc: '2026-01-01'\n'off': 1",
        "a: 12:30:61x\nb: http://x:80\nc: 127.0.0.1:80\nd: 08x",
        "a: &a {b: 1}\nc: {<<: *a, b: 2}\nd: {<<: *a}\ne: *a",
        "- &l [1]\n- *l",
        f"a: 1{310 * '0'}",  # too large for a float
    ],
)
def test_unambiguous_values_are_not_reported(text):
    assert list(find_pitfalls(text)) == []


@pytest.mark.parametrize(
    ("text", "expected_types", "remedy"),
    [
        ("5e-4", ["number"], "5.0e-4"),
        ("1e3", ["number"], "1.0e+3"),
        ("1.5E6", ["number"], "1.5e+6"),
        ("-2e5", ["number", "null"], "-2.0e+5"),
        ("1e9", ["integer"], "1000000000"),
        ('"0.1"', ["number"], "0.1"),
        ('"0.00000001"', ["number"], "1.0e-8"),
        ('"5"', ["number"], "5"),
        ("08", ["integer"], "8"),
        ("5.0", ["integer"], "5"),
    ],
)
def test_number_in_the_hint_is_read_as_this_number(text, expected_types, remedy):
    value = yaml.safe_load(text)
    assert f"write {remedy}" in value_hint(value, expected_types)
    assert yaml.safe_load(remedy) == float(value)
    assert type(yaml.safe_load(remedy)) in (int, float)


@pytest.mark.parametrize(
    ("value", "expected_types", "message"),
    [
        (False, ["string"], "truth values in YAML; put the text in quotes"),
        (2024, ["string", "null"], "put the text in quotes"),
        (1.5, ["string"], "put the text in quotes"),
        ("no", ["boolean"], "write no, without quotes"),
        (None, ["object"], "it is empty"),
        (31, ["array"], "write a list: [31]"),
        ("soon", ["integer"], ""),
        (1.5, ["integer"], ""),
        ("1e-3", ["integer"], ""),
        ("nan", ["number"], ""),
        (None, ["number"], ""),
    ],
)
def test_hint_for_other_types(value, expected_types, message):
    hint = value_hint(value, expected_types)
    assert message in hint if message else hint == ""


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"a:\n\tb: 1", "indent with spaces, not tabs"),
        (b"a: [1", "not YAML"),
        (b"a: \xff", "not UTF-8 (byte 3)"),
        (b"a: 2026-02-30", "not YAML (day is out of range for month)"),
        (b"a: 1\na: 2", "key a is given twice"),
    ],
)
def test_unreadable_file_raises_input_error_in_one_line(tmp_path: Path, content, message):
    path = tmp_path / "a.yaml"
    path.write_bytes(content)
    with pytest.raises(InputError) as raised:
        read_yaml(path, "config")
    assert str(raised.value).startswith(f"{path}: ") and message in str(raised.value)
    assert len(str(raised.value).splitlines()) == 1
    with pytest.raises(InputError, match="no such config"):
        read_yaml(tmp_path / "b.yaml", "config")


def test_byte_order_mark_is_not_part_of_the_first_key(tmp_path: Path):
    (tmp_path / "a.yaml").write_bytes(b"\xef\xbb\xbfa: 1\r\nb: 2\r\n")
    assert read_yaml(tmp_path / "a.yaml", "config") == {"a": 1, "b": 2}
